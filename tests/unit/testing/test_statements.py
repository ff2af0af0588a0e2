from __future__ import annotations

import pytest

from airflow_provider_roe.testing.statements import split


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;\n SELECT 2 ;", ["SELECT 1", "SELECT 2"]),
        ("SELECT 1 -- ; no\n; SELECT 2", ["SELECT 1 -- ; no", "SELECT 2"]),
        ("SELECT 1; -- done", ["SELECT 1"]),
        (";; /* a */ ; -- b\n # c\n // d", []),
        ("SELECT 1;/* ; /* ; */ ; */;SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("SELECT 1 /* /* */ ; SELECT 2", ["SELECT 1 /* /* */ ; SELECT 2"]),
        ("SELECT 'open ; string", ["SELECT 'open ; string"]),
        ("SELECT 'open \\", ["SELECT 'open \\"]),
        ("SELECT $a$open ; heredoc", ["SELECT $a$open", "heredoc"]),
    ],
)
def test_statements_end_at_semicolons_outside_of_strings_and_comments(sql, statements):
    assert [statement.text for statement in split(sql)] == statements


@pytest.mark.parametrize("before", ["", " \n", "/* SHOW */ ", "--x\n\t", "# a\n// b\n"])
@pytest.mark.parametrize("sql", ["", "SELECT 1; ", "SELECT 1;/* ; */"])
def test_the_first_word_of_a_statement_is_found_behind_comments(sql, before):
    *_, statement = split(f"{sql}{before}SELECT 2")
    assert statement.text[statement.first_word :] == "SELECT 2"
