"""Changes that someone might make to a printed report."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pikepdf
from pikepdf import Array, Dictionary, Name, Operator, Pdf, String


def tampered(report: Path, to: Path, change: Callable[[Pdf], None], **saved: Any) -> Path:
    """Write a copy of a report with a change made; `saved` is what pikepdf takes for it."""
    with pikepdf.open(report) as pdf:
        change(pdf)
        pdf.save(to, **saved)
    return to


def fonts(pdf: Pdf) -> dict[str, Any]:
    """All pages of a report share these."""
    return {str(name): font for name, font in pdf.pages[0].Resources.Font.items()}


def codes_of(font: Any) -> dict[str, bytes]:
    """Code of each character."""
    content = font.ToUnicode.read_bytes()
    pairs = re.findall(rb"<([0-9a-f]{4})> <([0-9a-f]{4})>\n", content)
    return {
        bytes.fromhex(c.decode()).decode("utf-16-be"): bytes.fromhex(k.decode()) for k, c in pairs
    }


def shown(page: Any) -> tuple[list[Any], list[tuple[int, str]]]:
    """A page's instructions, and the places and fonts of those that show text."""
    instructions: list[Any] = list(pikepdf.parse_content_stream(page))
    texts, font = [], ""
    for place, (operands, operator) in enumerate(instructions):
        if operator == Operator("Tf"):
            font = str(operands[0])
        if operator == Operator("TJ"):
            texts.append((place, font))
    return instructions, texts


def write(pdf: Pdf, number: int, instructions: list[Any]) -> None:
    """Let a page show something else."""
    content = pikepdf.unparse_content_stream(instructions)
    pdf.pages[number].Contents = pdf.make_stream(content)


def show(parts: list[Any]) -> Any:
    return pikepdf.ContentStreamInstruction([Array(parts)], Operator("TJ"))


def change_a_digit(nth: int) -> Callable[[Pdf], None]:
    """The n-th digit that is shown becomes the next one."""

    def change(pdf: Pdf) -> None:
        seen = 0
        codes = {name: codes_of(font) for name, font in fonts(pdf).items()}
        for number, page in enumerate(pdf.pages):
            instructions, texts = shown(page)
            for place, font in texts:
                digits = {code: d for d, code in codes[font].items() if d in "012345678"}
                parts = list(instructions[place].operands[0])
                for index, part in enumerate(parts):
                    digit = digits.get(bytes(part)) if isinstance(part, String) else None
                    following = codes[font].get(str(int(digit) + 1)) if digit else None
                    if not following:
                        continue
                    if seen == nth:
                        parts[index] = String(following)
                        instructions[place] = show(parts)
                        write(pdf, number, instructions)
                        return
                    seen += 1
        raise AssertionError(f"there are {seen} digits")

    return change


def add_a_sentence(
    before: bytes = b"", after: bytes = b"", page: int = 3
) -> Callable[[Pdf], None]:
    """A page says more, in its own font, under the marks given."""

    def change(pdf: Pdf) -> None:
        name, font = next(iter(fonts(pdf).items()))
        codes = codes_of(font)
        said = b"".join(codes[c] for c in "this is not so" if c in codes).hex().encode()
        text = b"\nq BT " + name.encode() + b" 10 Tf 80 80 Td <" + said + b"> Tj ET Q\n"
        contents = pdf.pages[page].Contents
        contents.write(contents.read_bytes() + before + text + after)

    return change


def change_the_data(pdf: Pdf) -> None:
    """The embedded results name another seed."""
    stream = pdf.Root.AF[0].EF.F
    content, n = re.subn(rb'"seed": (\d)', rb'"seed": 7\1', stream.read_bytes())
    assert n > 0
    stream.write(content)


def swap_two_glyphs(pdf: Pdf) -> None:
    """Pages show 2 where they are read as 3, and the reverse."""
    for name, font in fonts(pdf).items():
        codes = codes_of(font)
        if not {"2", "3"} <= codes.keys():
            continue
        swap = {codes["2"]: codes["3"], codes["3"]: codes["2"]}
        for number, page in enumerate(pdf.pages):
            instructions, texts = shown(page)
            for place, used in texts:
                if used == name:
                    parts = [
                        String(_swapped(bytes(part), swap)) if isinstance(part, String) else part
                        for part in instructions[place].operands[0]
                    ]
                    instructions[place] = show(parts)
            write(pdf, number, instructions)
        table = font.ToUnicode.read_bytes()
        for said, other in (("2", "3"), ("3", "2")):
            code = b"<" + codes[said].hex().encode() + b"> <00%x>"
            assert table.count(code % ord(said)) == 1
            table = table.replace(code % ord(said), code % ord(other))
        font.ToUnicode.write(table)


def _swapped(codes: bytes, swap: dict[bytes, bytes]) -> bytes:
    pairs = (codes[i : i + 2] for i in range(0, len(codes), 2))
    return b"".join(swap.get(pair, pair) for pair in pairs)


def lay_a_note_over(pdf: Pdf) -> None:
    note = Dictionary(
        Type=Name.Annot,
        Subtype=Name.FreeText,
        Rect=[100, 100, 300, 200],
        Contents="all is well",
        DA="/Helv 12 Tf",
    )
    pdf.pages[2].Annots = Array([*pdf.pages[2].get("/Annots", []), pdf.make_indirect(note)])


def run_a_script(pdf: Pdf) -> None:
    pdf.Root.OpenAction = Dictionary(S=Name.JavaScript, JS="app.alert(1)")


def change_an_alt(pdf: Pdf) -> None:
    figure = next(e for e in pdf.objects if isinstance(e, Dictionary) and e.get("/S") == "/Figure")
    figure.Alt = str(figure.Alt).replace("0.", "9.")


def draw_beside_the_figures(pdf: Pdf) -> None:
    """Letters need no font: their outlines can be drawn."""
    contents = pdf.pages[3].Contents
    contents.write(contents.read_bytes() + b"\n0 0 m 10 10 20 20 30 0 c f\n")


def leave_a_page_out(pdf: Pdf) -> None:
    del pdf.pages[4]


def swap_two_pages(pdf: Pdf) -> None:
    pdf.pages[3], pdf.pages[4] = pdf.pages[4], pdf.pages[3]


def hide_a_file(pdf: Pdf) -> None:
    pdf.attachments["other.txt"] = b"more"
