"""Fields of models that hold text.

The checks are in `ci_common.parsing.text`. The supervisor of a process job imports them, too, and has no pydantic.
"""

from typing import Annotated

from pydantic import AfterValidator

from ci_common.parsing.text import check_line, check_text

Text = Annotated[str, AfterValidator(check_text)]
"""Text of any number of lines, as shell text is."""
Line = Annotated[str, AfterValidator(check_line)]
"""Text of one line, as names, labels and projects are."""
