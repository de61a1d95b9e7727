"""XML read as a stream in bounded memory: no entities of its own, no files of others, no depth without end."""

from collections.abc import Callable
from typing import BinaryIO
from xml.parsers import expat

CHUNK_BYTES = 256 * 1024
MOST_DEPTH = 100
LONGEST_TAG_BYTES = 4 * 1024**2
"""A start tag with all its attributes, which expat keeps whole."""


class NotReadable(Exception):
    """The document is not what it is taken for. The message says why."""


Begin = Callable[[str, dict[str, str]], None]
End = Callable[[str], None]


def read_xml(
    file: BinaryIO, *, begin: Begin, end: End, text: Callable[[str], None], on_chunk: Callable[[], None]
) -> None:
    """Call `begin` and `end` for each element and `text` for what is in them.

    Names come without their namespace. `on_chunk` is called for each part of the file. Raises NotReadable; what came
    before is right then.
    """
    parser = expat.ParserCreate(namespace_separator=None)
    parser.buffer_text = True
    parser.buffer_size = 64 * 1024
    depth = 0

    def on_begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MOST_DEPTH:
            raise NotReadable(f"its elements lie more than {MOST_DEPTH} deep, at line {parser.CurrentLineNumber}")
        begin(name.rpartition(":")[2] if ":" in name else name, attributes)

    def on_end(name: str) -> None:
        nonlocal depth
        depth -= 1
        end(name.rpartition(":")[2] if ":" in name else name)

    def refuse_entity(name: str, *_: object) -> None:
        raise NotReadable(f"it declares the entity {name[:40]}, which no report needs")

    parser.StartElementHandler = on_begin
    parser.EndElementHandler = on_end
    parser.CharacterDataHandler = text
    parser.EntityDeclHandler = refuse_entity
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    fed = 0
    try:
        while chunk := file.read(CHUNK_BYTES):
            parser.Parse(chunk, False)
            fed += len(chunk)
            if fed - max(0, parser.CurrentByteIndex) > LONGEST_TAG_BYTES:
                raise NotReadable(f"a tag at line {parser.CurrentLineNumber} has more than {LONGEST_TAG_BYTES} bytes")
            on_chunk()
        parser.Parse(b"", True)
    except expat.ExpatError as exc:
        raise NotReadable(f"it is not well-formed XML: {exc}") from exc
    except (LookupError, ValueError) as exc:  # An encoding that Python does not have.
        raise NotReadable(f"it cannot be decoded: {exc}") from exc
