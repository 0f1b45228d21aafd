"""Reads XML files as a tree whose elements know their line; document types and entities are refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from poseplug.core.errors import AnnotationError


@dataclass
class XmlElement:
    """An element of an XML file.

    Attributes:
        tag: its name.
        attributes: its attributes.
        line: of its start tag, counted from 1.
        children: the elements directly inside it.
        text: its text, without that of its children.
    """

    tag: str
    attributes: dict[str, str]
    line: int
    children: list[XmlElement] = field(default_factory=list)
    text: str = ''

    def find_all(self, tag: str) -> Iterator[XmlElement]:
        """Return the children with a tag."""
        return (child for child in self.children if child.tag == tag)

    def find_text(self, tag: str) -> str:
        """Return the text of the first child with a tag; '' if there is none."""
        return next((child.text.strip() for child in self.find_all(tag)), '')

    def iterate_elements(self, tag: str) -> Iterator[XmlElement]:
        """Return all elements below this one with a tag, in the file's order."""
        for child in self.children:
            if child.tag == tag:
                yield child
            yield from child.iterate_elements(tag)


def read_xml(file: Path) -> XmlElement:
    """Read an XML file.

    Args:
        file: the file.

    Returns:
        The root element.

    Raises:
        AnnotationError: the file cannot be read, is not XML, or declares a document type, whose entities can expand to
            any size and can name other files.
    """
    root = XmlElement('', {}, 0)
    stack = [root]
    parser = expat.ParserCreate()

    def start_element(tag: str, attributes: dict[str, str]) -> None:
        element = XmlElement(tag, attributes, parser.CurrentLineNumber)
        stack[-1].children.append(element)
        stack.append(element)

    def add_text(text: str) -> None:
        stack[-1].text += text

    def refuse_document_type(*_: object) -> None:
        raise AnnotationError(f'{file}: it declares a document type (DOCTYPE); remove that line')

    parser.StartElementHandler = start_element
    parser.EndElementHandler = lambda tag: stack.pop()
    parser.CharacterDataHandler = add_text
    # Without a document type there are no entities, neither nested ones nor ones that name files.
    parser.StartDoctypeDeclHandler = refuse_document_type
    try:
        parser.Parse(file.read_bytes(), True)
    except OSError as error:
        reason = error.strerror or error
        raise AnnotationError(f'{file}: {reason}; check its path, or restore the file') from error
    except expat.ExpatError as error:
        raise AnnotationError(f'{file} is no readable XML file ({error}); export it again') from error
    return root.children[0]
