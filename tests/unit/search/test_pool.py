import gzip
import logging
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardfold.search.database import DatabaseError
from hardfold.search.pool import clean_pool


def clean(tmp_path, text, name="pool.fasta"):
    pool = tmp_path / name
    pool.write_bytes(text if isinstance(text, bytes) else text.encode())
    clean_pool(pool, tmp_path / "clean.fasta")
    lines = (tmp_path / "clean.fasta").read_text(encoding="ascii").splitlines()
    return dict(zip(lines[::2], lines[1::2], strict=True))


@pytest.mark.parametrize(
    ("text", "records", "word"),
    [
        (">a some words\nMKV\nLE\n>b/1-20|x\nMKVW\n", {">a": "MKVLE", ">b/1-20|x": "MKVW"}, ""),
        (">a\r\nMKV\r\n\r\nLE\r\n>b\r\nMKVW\r\n", {">a": "MKVLE", ">b": "MKVW"}, ""),
        (">a\rMKV\rLE\r>b\rMKVW\r", {">a": "MKVLE", ">b": "MKVW"}, ""),
        (">a\nmkvLE\n", {">a": "MKVLE"}, "1 records in lower case"),
        (">a\nMKVLE*\n", {">a": "MKVLE"}, r"1 '\*' at the end"),
        (">a\nMK*LE*\n", {">a": "MKXLE"}, r"1 records with '\*' inside"),
        (">a\nMKV LE\n", {">a": "MKVLE"}, ""),
        (">a\nMKUOBZJX\n", {">a": "MKUOBZJX"}, ""),
        (">a\n>b\nMKVW\n>c\n*\n", {">b": "MKVW"}, "2 empty records left out"),
        (">a\nMKV\n>a\nMKVW\n>a\nMKV\n>a_2\nMKL\n", {">a": "MKV", ">a_2": "MKVW", ">a_2_2": "MKL"}, "2 names that"),
        (">a\nMKV\n>a\nMKV\n", {">a": "MKV"}, "1 records that stand twice"),
        (">\nMKV\n", {">line1": "MKV"}, ""),
        (">näme\nMKV\n", {">n?me": "MKV"}, "1 names that are not ASCII"),
        (f">a\nMKV\n>long\n{'M' * 20001}\n", {">a": "MKV"}, "1 records longer than 20000"),
    ],
)
def test_odd_records_are_made_clean_with_a_word(tmp_path, caplog, text, records, word):
    with caplog.at_level(logging.WARNING):
        assert clean(tmp_path, text) == records
    assert bool(caplog.records) == bool(word)
    if word:
        assert re.search(word, caplog.text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no sequence"),
        (">a\n\n", "holds no sequence"),
        ("MKV\n", "is not FASTA: line 1"),
        ("<!DOCTYPE html>\n<html>\n", "is not FASTA: line 1"),
        (">a\nMKV\n>b c\nMK1\n", "line 3, record b: '1' at position 3"),
        (">a\nMK-V\n", "'-' at position 3"),
        (">a\nMKÄ\n", "'Ã' at position 3"),
        (">a\nACGTACGT\n>b\nacgu\n", "holds nucleotides"),
        (gzip.compress(b">a\nMKVLE\n" * 99, mtime=0)[:-9], "is not a whole gzip file"),
        (b"\x1f\x8b broken", "is not a whole gzip file"),
    ],
)
def test_what_is_no_fasta_of_proteins_is_refused(tmp_path, text, message):
    with pytest.raises(DatabaseError, match=message):
        clean(tmp_path, text)


def test_gzip_is_known_by_its_content(tmp_path):
    assert clean(tmp_path, gzip.compress(b">a\nMKVLE\n"), "pool.fasta") == {">a": "MKVLE"}


def test_a_pool_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DatabaseError, match=r"pool\.fasta is missing"):
        clean_pool(tmp_path / "pool.fasta", tmp_path / "clean.fasta")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([b">a", b">b x", b"\n", b"\r", b"mk", b"MKV", b"*", b" ", b">", b"\xff", b"1"])))
def test_any_file_is_cleaned_or_refused(tmp_path_factory, pieces):
    folder = tmp_path_factory.mktemp("pool")
    try:
        records = clean(folder, b"".join(pieces))
    except DatabaseError:
        return
    assert records
    assert all(name.isascii() and name.isprintable() and len(name) > 1 for name in records)
    assert all(set(sequence) <= set("MKVX") for sequence in records.values())
