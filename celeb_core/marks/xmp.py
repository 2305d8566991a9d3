"""XMP packets, in files of the formats that we write: what says that an image was generated.

DigitalSourceType is of the IPTC Photo Metadata Standard 2024.1, where packets are in a file of
Adobe's XMP Specification Part 3.
"""

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from celeb_core.errors import PhotoUnreadable, quote
from celeb_core.files import read_bytes
from celeb_core.formats.image_file import png_text
from celeb_core.formats.image_parts import PNG

NAME, VERSION = "Celeb Basis Studio", "0.1.0"  # that of the package
CREATOR = f"{NAME} {VERSION}"
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = f"{SOURCE_TYPES}trainedAlgorithmicMedia"
GENERATED_TYPES = {"trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"}

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NAMESPACES = {
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "studio": "urn:celeb-basis-studio:mark:1#",  # our own
}
PNG_KEY = "XML:com.adobe.xmp"  # of the text of a PNG
BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
END = '<?xpacket end="r"?>'
TAGS = (b"x:xmpmeta", b"rdf:RDF")  # what a packet is within; the first may be left out
MAX_PACKET = 1_000_000  # bytes
MAX_FILE = 100_000_000  # bytes

GIF_BLOCK = b"\x21\xff\x0bXMP DataXMP"  # an application extension
# What readers of GIF need to find the end of a block that is not divided into sub-blocks.
GIF_TRAILER = bytes([1, *range(255, -1, -1), 0])
MAX_BOXES = 1000  # of an MP4
MP4_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # the UUID of XMP


def build_packet(own: Mapping[str, str]) -> str:
    """Build a packet that says that an image was generated, and by which program.

    Args:
        own: Further properties, in our own namespace.
    """
    properties = {"xmp:CreatorTool": CREATOR, "Iptc4xmpExt:DigitalSourceType": GENERATED}
    properties |= {f"studio:{name}": value for name, value in own.items()}
    names = "".join(f" xmlns:{prefix}={quoteattr(uri)}" for prefix, uri in NAMESPACES.items())
    values = "".join(f"\n  {name}={quoteattr(value)}" for name, value in properties.items())
    return (
        f'{BEGIN}\n<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}">\n'
        f' <rdf:Description rdf:about=""{names}{values}/>\n</rdf:RDF></x:xmpmeta>\n{END}'
    )


def read_packet(path: Path) -> str:
    """Return the XMP packet of a file of any format, "" if it has none.

    A PNG's may be compressed; of other files the first is looked for in their bytes, as XMP is made
    for.

    Raises:
        PhotoUnreadable: There is no such file, it is too large, or its text is damaged.
    """
    try:
        content = read_bytes(path, MAX_FILE)
    except (OSError, ValueError) as error:
        reason = quote(str(error))
        raise PhotoUnreadable(f"{quote(path.name)} cannot be read ({reason}).") from error
    if content.startswith(PNG):
        return (png_text(content, PNG_KEY) or "")[:MAX_PACKET]
    return _packet(content).decode("utf-8", "replace")


def read_properties(packet: str) -> dict[str, str]:
    """Return those properties of a packet that are texts, by names like "xmp:CreatorTool".

    Only those of NAMESPACES. What is no packet, or damaged, has none.
    """
    found = _packet(packet.encode(errors="replace"))
    if b"<!" in found:  # a packet declares no entities
        return {}
    try:
        root = ElementTree.fromstring(found)
    except (ElementTree.ParseError, ValueError, LookupError):
        return {}
    properties: dict[str, str] = {}
    for node in root.iter(f"{{{RDF}}}Description"):
        for name, value in node.attrib.items():
            properties[name] = value
        for child in node:
            properties[child.tag] = child.get(f"{{{RDF}}}resource") or (child.text or "").strip()
    return {
        f"{prefix}:{name.removeprefix(f'{{{uri}}}')}": value
        for prefix, uri in NAMESPACES.items()
        for name, value in properties.items()
        if name.startswith(f"{{{uri}}}")
    }


def _packet(content: bytes) -> bytes:
    """Return the first packet in a file, without what frames it; b"" if there is none."""
    for tag in TAGS:
        start = content.find(b"<" + tag)
        end = content.find(b"</" + tag, start, start + MAX_PACKET) if start >= 0 else -1
        close = content.find(b">", end, end + 100) if end >= 0 else -1
        if close >= 0:
            return content[start : close + 1]
    return b""


def is_generated(properties: Mapping[str, str]) -> bool:
    """Return whether a packet says that the image was generated, wholly or in part."""
    source = properties.get("Iptc4xmpExt:DigitalSourceType", "")
    return source.rpartition("/")[2] in GENERATED_TYPES


def add_to_gif(content: bytes, packet: str) -> bytes:
    """Put a packet into a GIF, behind its palette."""
    flags = content[10]
    at = 13 + (3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0)
    return content[:at] + GIF_BLOCK + packet.encode() + GIF_TRAILER + content[at:]


def mp4_box(packet: str) -> bytes:
    """Return what holds a packet at the end of an MP4."""
    data = packet.encode()
    return (24 + len(data)).to_bytes(4) + b"uuid" + MP4_BOX + data


def is_mp4(content: bytes) -> bool:
    """Return whether a file is an MP4; images have other brands."""
    return content[4:8] == b"ftyp" and content[8:11] in (b"iso", b"mp4")


def mp4_stream(content: bytes) -> bytes:
    """Return the encoded video of an MP4, without what describes it."""
    at, found = 0, b""
    for _ in range(MAX_BOXES):
        size, start = int.from_bytes(content[at : at + 4]), 8
        if size == 1:  # the length is behind the name
            size, start = int.from_bytes(content[at + 8 : at + 16]), 16
        if size < start or at + size > len(content):
            break
        if content[at + 4 : at + 8] == b"mdat":
            found += content[at + start : at + size]
        at += size
    return found
