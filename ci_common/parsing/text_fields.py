"""Fields of models that hold text.

The checks are in `ci_common.parsing.text`. The supervisor of a process job imports them, too, and has no pydantic.
"""

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from ci_common.parsing.text import check_line, check_text

TEXT_PATTERN: Final = r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*$"
LINE_PATTERN: Final = r"^[^\u0000-\u001f\u007f-\u009f]*$"
"""The same as JSON Schema. Halves of surrogate pairs are not valid in JSON anyway."""

Text = Annotated[str, AfterValidator(check_text), Field(json_schema_extra={"pattern": TEXT_PATTERN})]
"""Text of any number of lines, as shell text is."""
Line = Annotated[str, AfterValidator(check_line), Field(json_schema_extra={"pattern": LINE_PATTERN})]
"""Text of one line, as names, labels and projects are."""
