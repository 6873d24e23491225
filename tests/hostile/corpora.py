"""Texts, archives and tables as they come, and as somebody would make them to do harm."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.factories import SENTENCES
from tests.hostile.case import Place, case

GOOD = "\n".join(SENTENCES).encode()


def added(place: Place, path: Path, *more: object) -> tuple[object, ...]:
    return "add-corpus", "--input", path, "--output", place.out, *more


@case("corpus", "no such", "not exist", "not found", "does not", "there is no")
def a_file_that_is_not_there(place):
    return added(place, place.inputs / "missing.txt")


@case("corpus", "empty", "no text", "no document", "nothing")
def an_empty_file(place):
    return added(place, place.write("empty.txt", b""))


@case("corpus", "empty", "no text", "no document", "nothing")
def a_file_of_blank_lines(place):
    return added(place, place.write("blank.txt", b"\n \n\t\n" * 100))


@case("corpus", "empty", "no text", "no file", "nothing", "no document")
def an_empty_folder(place):
    (place.inputs / "nothing").mkdir(parents=True)
    return added(place, place.inputs / "nothing")


@case("corpus", "binary", "text", "encoding", "nul")
def a_program_called_txt(place):
    return added(place, place.write("tool.txt", b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 200))


@case("corpus", "encoding", "utf", "not text", "binary")
def random_bytes_called_txt(place):
    import random

    return added(place, place.write("noise.txt", random.Random(3).randbytes(200_000)))


@case("corpus", "encoding", "codec", "decode", "cannot be read", "utf")
def an_encoding_that_does_not_fit(place):
    return added(place, place.write("russian.txt", ("Старый дом " * 400).encode("cp1251")), "--encoding", "utf-8")


@case("corpus", "encoding")
def an_encoding_that_does_not_exist(place):
    return added(place, place.text, "--encoding", "utf-99")


@case("corpus", "encoding")
def an_encoding_that_is_no_text_encoding(place):
    return added(place, place.text, "--encoding", "zlib")


@case("corpus", "line 3", ".jsonl:3")
def a_jsonl_line_that_is_no_json(place):
    return added(place, place.write("bad.jsonl", b'{"text": "a b c"}\n{"text": "b c d"}\n{oops\n{"text": "c d e"}\n'))


@case("corpus", "line 2", ".jsonl:2")
def a_jsonl_line_that_is_a_list(place):
    return added(place, place.write("bad.jsonl", b'{"text": "a b c"}\n[1, 2, 3]\n'))


@case("corpus", "line 2", ".jsonl:2")
def a_jsonl_text_that_is_a_number(place):
    return added(place, place.write("bad.jsonl", b'{"text": "a b c"}\n{"text": 5}\n'))


@case("corpus", "line 2", ".jsonl:2", "nest", "deep")
def a_jsonl_line_of_ten_thousand_brackets(place):
    return added(place, place.write("deep.jsonl", b'{"text": "a b c"}\n' + b"[" * 10_000 + b"]" * 10_000 + b"\n"))


@case("corpus", harmless=True)
def a_jsonl_without_a_text_field(place):
    return added(place, place.write("other.jsonl", b'{"body": "a b c"}\n{"body": "b"}\n'))


@case("corpus", "nothere")
def a_text_field_that_no_record_has(place):
    return added(place, place.write("good.jsonl", b'{"text": "a b c"}\n'), "--text-field", "nothere")


@case("corpus", "line 2", "surrogate", "unicode", harmless=True)
def a_jsonl_text_with_half_a_surrogate_pair(place):
    return added(place, place.write("half.jsonl", b'{"text": "a b c d"}\n{"text": "x \\ud83d y"}\n{"text": "e f g h"}\n'))


@case("corpus", "long", "large", "limit", "mb", "mib", harmless=True)
def a_line_of_forty_megabytes(place):
    return added(place, place.write("long.txt", b"word " * 8_000_000))


@case("corpus", "quote", "line", "csv", "field", "larger")
def a_csv_with_an_open_quote(place):
    return added(place, place.write("open.csv", b'text,n\n"never closed,1\n' + b"more words here,2\n" * 50_000))


@case("corpus", "column", "text", "field", "header")
def a_csv_without_a_text_column(place):
    return added(place, place.write("other.csv", b"a,b\n1,2\n3,4\n"))


@case("corpus", "line", "row", "nul", "binary", "column")
def a_csv_of_nul_bytes(place):
    return added(place, place.write("nul.csv", b"text\n" + b"\x00" * 5000 + b"\n"))


@case("corpus", "parquet", "damaged", "read")
def a_parquet_that_was_cut_off(place):
    stream = io.BytesIO()
    pq.write_table(pa.table({"text": list(SENTENCES)}), stream)
    return added(place, place.write("cut.parquet", stream.getvalue()[:-30]))


@case("corpus", "parquet", "damaged", "read", harmless=True)
def a_parquet_with_flipped_bytes(place):
    stream = io.BytesIO()
    pq.write_table(pa.table({"text": list(SENTENCES) * 50}), stream, compression="snappy")
    data = bytearray(stream.getvalue())
    for position in range(40, 400, 7):
        data[position] ^= 0xFF
    return added(place, place.write("flipped.parquet", bytes(data)))


@case("corpus", "column", "text", "field")
def a_parquet_without_text(place):
    stream = io.BytesIO()
    pq.write_table(pa.table({"n": [1, 2, 3]}), stream)
    return added(place, place.write("numbers.parquet", stream.getvalue()))


@case("corpus", "parquet", "read", "damaged", "not")
def a_text_called_parquet(place):
    return added(place, place.write("text.parquet", GOOD))


@case("corpus", "gz", "damaged", "compressed", "cut", "read")
def a_gzip_that_was_cut_off(place):
    return added(place, place.write("cut.txt.gz", gzip.compress(GOOD * 100)[:-20]))


@case("corpus", "gz", "damaged", "compressed", "read", "not")
def a_text_called_gz(place):
    return added(place, place.write("text.txt.gz", GOOD))


@case("corpus", "large", "limit", "bomb", "expand", "ratio", "times")
def a_gzip_bomb(place):
    packed = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packed.compress(b"\0" * 2**20) for _ in range(300)]
    return added(place, place.write("bomb.txt.gz", b"".join([*parts, packed.flush()])))


def zipped(*members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


@case("corpus", "outside", "path", "..", "name", harmless=True)
def a_zip_that_climbs_out(place):
    return added(place, place.write("climb.zip", zipped(("../../canary", GOOD), ("good.txt", GOOD))))


@case("corpus", "outside", "path", "absolute", "name", harmless=True)
def a_zip_with_an_absolute_name(place):
    return added(place, place.write("absolute.zip", zipped((str(place.canary), GOOD))))


@case("corpus", "link", "regular", "text", "file")
def a_zip_with_a_link_to_a_secret(place):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        info = zipfile.ZipInfo("notes.txt")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return added(place, place.write("link.zip", stream.getvalue()))


@case("corpus", "large", "limit", "bomb", "expand", "times", "ratio")
def a_zip_bomb(place):
    return added(place, place.write("bomb.zip", zipped(*((f"{n}.txt", b"\0" * 2**24) for n in range(20)))))


@case("corpus", "zip", "damaged", "read", "not")
def a_zip_that_was_cut_off(place):
    return added(place, place.write("cut.zip", zipped(("good.txt", GOOD * 50))[:-60]))


@case("corpus", "password", "encrypted")
def a_zip_with_a_password(place):
    data = bytearray(zipped(("good.txt", GOOD)))
    # The flag "encrypted" in the local and in the central header.
    data[6] |= 1
    central = data.rindex(b"PK\x01\x02")
    data[central + 8] |= 1
    return added(place, place.write("locked.zip", bytes(data)))


@case("corpus", "kinds")
def a_zip_without_text(place):
    return added(place, place.write("pictures.zip", zipped(("a.png", b"\x89PNG"), ("b.exe", b"MZ"))))


@case("corpus", "archive", "nested", "zip", "text", "no ")
def a_zip_in_a_zip_in_a_zip(place):
    inner = zipped(("good.txt", GOOD))
    for _ in range(30):
        inner = zipped(("inner.zip", inner))
    return added(place, place.write("nested.zip", inner))


@case("corpus", "zst", "damaged", "compressed", "read", "not")
def a_text_called_zst(place):
    return added(place, place.write("text.txt.zst", GOOD))


@case("corpus", "zst", "damaged", "window", "memory", "read", "compressed")
def a_zstd_frame_that_wants_gigabytes(place):
    # Magic, a frame header with the largest window descriptor, one empty last block.
    return added(place, place.write("window.txt.zst", b"\x28\xb5\x2f\xfd\x00\xf8" + struct.pack("<I", 1)[:3]))


@case("corpus", "link", "loop", "too many", "folder", "file", "no ")
def a_folder_with_a_link_to_itself(place):
    folder = place.inputs / "loop"
    folder.mkdir(parents=True)
    (folder / "again").symlink_to(folder)
    return added(place, folder)


@case("corpus", "not a regular", "pipe", "device", "file", "special")
def a_pipe_that_nobody_writes_to(place):
    import os

    place.inputs.mkdir(parents=True, exist_ok=True)
    os.mkfifo(place.inputs / "pipe.txt")
    return added(place, place.inputs / "pipe.txt")


@case("corpus", "not a regular", "device", "file", "special")
def an_endless_device(place):
    return added(place, Path("/dev/zero"))


@case("corpus", "long", "path", "name")
def a_path_of_five_thousand_letters(place):
    return added(place, place.inputs / ("x" * 5000))


@case("corpus", "path", "nul", "null", "character", "no ")
def a_path_with_a_nul_byte(place):
    return added(place, Path(str(place.inputs / "a")).with_name("a\0b"))


@case("corpus", harmless=True)
def names_that_look_like_flags_and_markup(place):
    return added(place, place.write("<script>alert(1)</script> --output=x.txt", GOOD * 4))


@case("corpus", harmless=True)
def text_full_of_control_tokens_and_markup(place):
    lines = [
        f"<s></s><|im_end|><script>fetch('http://evil.example/{n}')</script> \u202e\x1b[31m {word}" for n, word in enumerate(SENTENCES * 4)
    ]
    return added(place, place.write("nasty.jsonl", "\n".join(json.dumps({"text": line}) for line in lines)))


@case("corpus", "unknown", "suffix", "kind", "format", "pdf", "text")
def a_pdf(place):
    return added(place, place.write("book.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n" + bytes(range(256)) * 50))


@case("corpus", "hub", "offline", "internet", "network", "data set", "dataset")
def a_hub_data_set_without_a_network(place):
    return "add-corpus", "--input", "hf://nobody/nothing", "--output", place.out


@case("corpus", "inside", "input", "same", "apart")
def an_output_inside_its_input(place):
    folder = place.text.parent
    return "add-corpus", "--input", folder, "--output", folder / "out"


@case("corpus", "not empty", "overwrite", "something else")
def an_output_that_holds_somebody_elses_files(place):
    place.out.mkdir(parents=True)
    (place.out / "thesis.doc").write_text("years of work")
    return "add-corpus", "--input", place.text, "--output", place.out, "--overwrite"
