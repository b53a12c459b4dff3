"""Error messages in one line, without passwords and colours."""

import pytest

from cosmolib.study.io import exit_code, reason_of, redact


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgresql://me@db:5432/x", "postgresql://me@db:5432/x"),
        ("at postgresql://me:pw@db/x, http://h:80/", "at postgresql://me:***@db/x, http://h:80/"),
        ("postgresql://:pw@db", "postgresql://:***@db"),
        ("postgresql://me@db/x?password=pw&a=1", "postgresql://me@db/x?password=***&a=1"),
        ("db?sslpassword=pw;PWD=pw", "db?sslpassword=***;PWD=***"),
        ("host=db password = pw user=me", "host=db password = *** user=me"),
        ("https://me:pw@h/a and https://me:pw@h/b", "https://me:***@h/a and https://me:***@h/b"),
    ],
)
def test_passwords_are_removed(text, clean):
    assert redact(text) == clean


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError("a"), "'a'"), (EOFError(), "EOFError"), (RuntimeError("x" * 1000), "x" * 200),
        (RuntimeError("\n  \x1b[1mfirst  line\x1b[0m\n\tmore"), "first line"),
        (RuntimeError("at x://me:pw@h\nmore"), "at x://me:***@h"),
    ],
)  # fmt: skip
def test_a_reason_is_one_short_line(error, reason):
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (None, 0, ""),
        (ValueError("two\nlines at x://me:pw@h"), 2, "p: two lines at x://me:***@h\n"),
        (FileNotFoundError(2, "No such file", "a"), 2, "p: [Errno 2] No such file: 'a'\n"),
        (TimeoutError(), 2, "p: TimeoutError\n"),
        (ModuleNotFoundError("x", name="camb.a"), 2,
         "p: module 'camb.a' is missing: pip install -e '.[simulate]'\n"),
        (KeyboardInterrupt(), 130, "p: stopped\n"),
        (KeyboardInterrupt("resume"), 130, "p: stopped; resume\n"),
        (ModuleNotFoundError("x", name="cosmolib.no"), None, None),
        (TypeError("a bug"), None, None),
    ],
)  # fmt: skip
def test_message_and_exit_code_of_a_command(capsys, error, code, message):
    def command(value):
        if error is not None:
            raise error

    if code is None:
        with pytest.raises(type(error)):
            exit_code("p", command, 1)
    else:
        assert exit_code("p", command, 1) == code
        assert capsys.readouterr() == ("", message)
