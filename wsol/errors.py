"""The one exception for failures that a user can correct, and the wrapper that shows it without a traceback."""

from __future__ import annotations

import difflib
import errno
import io
import re
import sys
from collections.abc import Callable, Iterable

from wsol.standard_output import forgive_standard_output, lost_output
from wsol.wrapping import tell

EXIT_OK = 0
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


class UserError(Exception):
    """A failure caused by input, settings or the machine, not by a defect.

    The message says what is wrong, where (file, line, image id), what was expected, and what to do. Commands
    print it as one `error:` line and end with exit code 2. What it quotes of a file or of a library's error is cut to
    that line: control characters are escaped, endless words and texts shortened in the middle.
    """

    def __str__(self) -> str:
        return _one_line(super().__str__())


_LONGEST_WORD, _LONGEST_TEXT = 300, 2000
_ALIKE = 0.7
"""The least share of letters in common, in order, of a name that is suggested: a letter in four mistyped."""


def _one_line(text: str) -> str:
    r"""A message as one line that a terminal can show.

    >>> print(_one_line("a\n  b \x1b[31m"), len(_one_line("9" * 5000)))
    a b \x1b[31m 203
    """
    text = " ".join(line.strip() for line in text.splitlines()) if "\n" in text or "\r" in text else text
    text = re.sub(
        r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", lambda m: m[0].encode("unicode_escape").decode(), text
    )
    text = re.sub(rf"\S{{{_LONGEST_WORD + 1},}}", lambda m: f"{m[0][:150]}...{m[0][-50:]}", text)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:1200]} ... {text[-700:]}"


def unknown_name(kind: str, name: object, legal: Iterable[str]) -> UserError:
    """The error for a name outside a closed list (or for what a file holds in a name's place): names the legal ones and
    suggests the nearest.

    >>> print(unknown_name("method", "cutmx", ["cutmix", "mixup"]))
    unknown method 'cutmx'; did you mean 'cutmix'? Legal: cutmix, mixup
    """
    names = sorted(legal)
    asked = str(name).lower()
    near = difflib.get_close_matches(asked, names, n=1, cutoff=_ALIKE) or [
        n for n in names if len(asked) > 1 and n.startswith(asked)
    ]
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return UserError(f"unknown {kind} '{name}'{hint} Legal: {', '.join(names) or '(none)'}")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, at most 200 characters, or its kind where it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def describe_os_error(error: OSError) -> str:
    """An operating-system failure in words that name the file and the remedy."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{where}; free some space or choose another --out, then run the command again"
    if error.errno == errno.EACCES:
        return f"permission denied{where}; choose a folder that you may write to, or change its permissions"
    return f"{error.strerror or error}{where}"


def run_command(main: Callable[[], None]) -> int:
    """Run a command's body and turn user errors into one line on stderr and exit code 2.

    What the output's encoding cannot spell (a redirected Windows console writes cp1252) is written as an escape.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    forgive_standard_output()
    try:
        main()
    except UserError as error:
        tell(f"error: {error}")
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        tell("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_OK
    except OSError as error:
        tell(f"error: {describe_os_error(error)}")
        return EXIT_USER_ERROR
    finally:
        if (why := lost_output()) is not None:
            tell(f"note: standard output could not be written ({why}); what the command keeps is whole")
    return EXIT_OK
