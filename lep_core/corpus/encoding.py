"""The encoding of a text file, found on a sample, and decoding that names the line where it fails.

Order: byte order mark, signatures of binary formats, UTF-16 without a mark, UTF-8, then single-byte encodings. For Cyrillic
the letter frequencies of Russian decide between CP1251, KOI8-R, CP866 and the like (general detectors confuse them on short
samples), for Latin script the letters that languages really use; anything else is left to charset-normalizer.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterable, Iterator

from lep_core.errors import CorpusError

SAMPLE_BYTES = 1 << 20
SCORED_BYTES = 1 << 16

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SIGNATURES = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive or an office document such as docx"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\xd0\xcf\x11\xe0", "an old office document such as doc or xls"),
    (b"{\\rtf", "an RTF document"),
    (b"\x1f\x8b", "compressed with gzip though its name does not say so"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd though its name does not say so"),
    (b"BZh9", "compressed with bzip2 though its name does not say so"),
    (b"\xfd7zXZ", "compressed with xz though its name does not say so"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (b"PAR1", "a parquet file though its name does not say so"),
    (b"SQLite format 3", "an SQLite data base"),
    (b"\x7fELF", "a program"),
    (b"GGUF", "a GGUF model"),
    (b"ID3", "a sound file"),
    (b"OggS", "a sound file"),
    (b"RIFF", "a sound or video file"),
)
_CYRILLIC_CODECS = ("cp1251", "koi8-r", "cp866", "cp1125", "iso8859-5", "koi8-u", "mac-cyrillic")
# Percent of letters in Russian text, a little of the Ukrainian and Belarusian ones so that these languages pass too.
_CYRILLIC_PERCENT = dict(
    zip(
        "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъёіїєўґ",
        (
            10.9,
            8.4,
            8.0,
            7.3,
            6.7,
            6.2,
            5.4,
            4.7,
            4.5,
            4.4,
            3.5,
            3.2,
            3.0,
            2.8,
            2.6,
            2.0,
            1.9,
            1.7,
            1.7,
            1.6,
            1.6,
            1.4,
            1.2,
            1.0,
            0.9,
            0.7,
            0.6,
            0.5,
            0.4,
            0.3,
            0.3,
            0.05,
            0.1,
            1.0,
            0.2,
            0.2,
            0.2,
            0.02,
        ),
        strict=True,
    )
)
_PUNCTUATION = frozenset("\xa0«»—–…“”„‘’№°§·€")
_LATIN_LETTERS = {
    "cp1252": ("éèàùâêîôûçëïœæÿ", "äöüß", "ñáéíóúü", "àèéìòù", "ãõáéíóúâêôçà", "åäöéæø", "áéíóúýþðæö"),
    "cp1250": ("ąćęłńóśźż", "áčďéěíňóřšťúůýžäľĺôŕ", "áéíóöőúüű", "čćđšž", "ăâîşţ"),
    "iso8859-2": ("ąćęłńóśźż", "áčďéěíňóřšťúůýžäľĺôŕ", "áéíóöőúüű", "čćđšž"),
    "cp1254": ("çğıöşüâîûİ",),
    "cp1257": ("ąčęėįšųūž", "āčēģīķļņšūž", "äöõüšž"),
}


def detect_encoding(sample: bytes, label: str, *, complete: bool) -> str:
    """The Python name of the encoding of a file that begins with `sample`; `complete` when that is all of it.

    Raises:
        CorpusError: the content is binary, or no encoding fits.
    """
    for mark, name in _MARKS:
        if sample.startswith(mark):
            return name
    refuse_binary_signature(sample, label)
    wide = _wide_encoding(sample)
    if wide is not None:
        return wide
    _refuse_control_bytes(sample, label)
    if _is_utf8(sample, complete=complete):
        return "utf-8"
    scored = sample[:SCORED_BYTES]
    if not any(byte >= 0x80 for byte in scored):
        # The sample begins with plain ASCII: judge by what stands around the first other bytes.
        first = next(place for place, byte in enumerate(sample) if byte >= 0x80)
        scored = sample[first : first + SCORED_BYTES]
    found = _cyrillic_encoding(scored) if _latin_share(scored) < 0.5 else _latin_encoding(scored)
    found = found or _general_encoding(scored)
    if found is None:
        raise CorpusError(f"the encoding of {label} cannot be told", "Give --encoding, or save the file as UTF-8")
    return found


def check_encoding(name: str) -> str:
    """The given encoding if Python knows it as one of text; raises `CorpusError` otherwise."""
    try:
        info = codecs.lookup(name)
        usable = getattr(info, "_is_text_encoding", True) and info.name not in (
            "undefined",
            "unicode-escape",
            "raw-unicode-escape",
            "idna",
            "punycode",
        )
    except (LookupError, ValueError):
        usable = False
    if not usable:
        raise CorpusError(
            f"there is no text encoding called {name!r}", "Use a name such as utf-8, utf-16, cp1251, koi8-r, cp866 or latin-1"
        )
    return "utf-8-sig" if info.name == "utf-8" else info.name


def decoded(chunks: Iterable[bytes], encoding: str, label: str) -> Iterator[str]:
    """The text of a file piece by piece, without its byte order mark.

    Raises:
        CorpusError: some bytes do not fit the encoding; names the line.
    """
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    line, first = 1, True
    for chunk, final in _with_last(chunks):
        try:
            text = decoder.decode(chunk, final)
        except UnicodeError as error:
            raise _decoding_error(error, encoding, label, line) from error
        if text and first:
            text, first = text.removeprefix("\ufeff"), False
        if text:
            line += text.count("\n")
            yield text


def refuse_binary_signature(sample: bytes, label: str) -> None:
    """Raise `CorpusError` when the first bytes are those of a well-known binary format."""
    what = next((kind for signature, kind in _SIGNATURES if sample.startswith(signature)), None)
    if what is None and len(sample) > 9 and sample[8:10] in (b'{"', b"{ ", b"{}") and int.from_bytes(sample[:8], "little") < 1 << 30:
        what = "a safetensors file"
    if what is not None:
        raise CorpusError(f"{label} is {what}, not plain text", "Save it as UTF-8 text, jsonl, csv or parquet")


def _with_last(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    for chunk in chunks:
        yield chunk, False
    yield b"", True


def _decoding_error(error: UnicodeError, encoding: str, label: str, line: int) -> CorpusError:
    if not isinstance(error, UnicodeDecodeError):
        return CorpusError(f"{label} is not {encoding} text ({error})", "Give the right --encoding")
    data = bytes(error.object)
    line += data[: error.start].decode(encoding, "ignore").count("\n")
    shown = data[error.start : error.start + 4].hex(" ")
    base = encoding.removesuffix("-sig")
    return CorpusError(
        f"{label}:{line}: the bytes {shown} are not valid {base}",
        "Mend that line, save the file as UTF-8, or give the file's --encoding (for example cp1251)",
    )


def _wide_encoding(sample: bytes) -> str | None:
    """UTF-16 without a mark: code units of one byte order are ordinary characters with spaces or line ends among them."""
    if b"\0" not in sample:
        return None
    part = sample[: SCORED_BYTES // 2 * 2]
    part = part[: len(part) // 2 * 2]
    best, best_name = 0.0, None
    for name in ("utf-16-le", "utf-16-be"):
        text = part.decode(name, "replace")
        good = sum(1 for char in text if char in "\t\n\r" or (char.isprintable() and char != "\ufffd"))
        breaks = sum(text.count(char) for char in " \n、。，")
        share = good / max(1, len(text))
        # Without a break only short texts of one alphabet are believed (a file of one word).
        plausible = breaks * 400 >= len(text) or (len(text) < 400 and len({ord(char) >> 8 for char in text}) <= 2)
        if share > 0.95 and plausible and (score := share + breaks / max(1, len(text))) > best:
            best, best_name = score, name
    return best_name


def _refuse_control_bytes(sample: bytes, label: str) -> None:
    control = len(sample) - len(sample.translate(None, bytes(range(1, 8)) + bytes(range(14, 27)) + bytes(range(28, 32))))
    if control > 0.02 * len(sample) or sample.count(b"\0") > 0.3 * len(sample):
        raise CorpusError(f"{label} holds binary data, not text", "Save it as UTF-8 text, jsonl, csv or parquet")


def _is_utf8(sample: bytes, *, complete: bool) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(sample, complete)
        return True
    except UnicodeDecodeError:
        pass
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    valid = sum(1 for char in text if char >= "\x80") - broken
    # Mostly valid sequences and a few broken ones: damaged UTF-8, to be reported with its line, not another encoding.
    return valid > 5 * broken


def _latin_share(sample: bytes) -> float:
    """Share of the non-ASCII bytes that stand in words with ASCII letters: high for French or Polish, low for Russian."""
    mixed = total = 0
    for word in re.findall(rb"[A-Za-z]*[\x80-\xff][A-Za-z\x80-\xff]*", sample):
        high = sum(1 for byte in word if byte >= 0x80)
        total += high
        if high < len(word):
            mixed += high
    return mixed / max(1, total)


def _cyrillic_encoding(sample: bytes) -> str | None:
    scores = {name: _cyrillic_score(sample.decode(name, "replace")) for name in _CYRILLIC_CODECS}
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] > -3.6 else None


def _cyrillic_score(text: str) -> float:
    """Mean log-likelihood of the non-ASCII characters under Russian letter frequencies, with a price for 'аБ' inside words."""
    total, count, before = 0.0, 0, " "
    for char in text:
        if char >= "\x80":
            lower = char.lower()
            percent = _CYRILLIC_PERCENT.get(lower, 0.3 if char in _PUNCTUATION else 0.002)
            total += math.log(percent / 100)
            count += 1
            if char != lower and before.islower():
                total -= 4
        before = char
    return total / max(1, count)


def _latin_encoding(sample: bytes) -> str | None:
    high = bytes(byte for byte in sample if byte >= 0x80)
    best, best_name = 0.0, None
    for name, languages in _LATIN_LETTERS.items():
        chars = high.decode(name, "replace")
        for letters in languages:
            allowed = set(letters) | set(letters.upper()) | _PUNCTUATION
            share = sum(char in allowed for char in chars) / max(1, len(chars))
            if share > best + 1e-9:
                best, best_name = share, name
    if best < 0.8:
        return None
    if best_name == "cp1252" and "\ufffd" in high.decode("cp1252", "replace"):
        return "latin-1"
    return best_name


def _general_encoding(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes

    match = from_bytes(sample, threshold=0.3).best()
    return None if match is None or match.encoding in ("ascii", "utf_8") else match.encoding
