"""Write .env from .env.example, with a random value for every name that is empty there. Python alone, nothing else.

What an existing .env says is kept, whatever it says; only secrets that it lacks are added. No secret is printed.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINE = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)=(.*)$")


def generate(name: str) -> str:
    """A value of letters, digits, `-` and `_`, which no shell and no address has to quote."""
    if name.endswith("_FERNET_KEY"):
        return base64.urlsafe_b64encode(os.urandom(32)).decode()
    return secrets.token_urlsafe(64 if name.endswith("_SECRET") else 24)


def read(text: str) -> dict[str, str]:
    """The names and values of an .env file."""
    return {match[1]: match[2].strip() for line in text.splitlines() if (match := LINE.match(line))}


def complete(example: str, existing: str | None) -> tuple[str, list[str]]:
    """The new .env, and the names that got a value."""
    wanted = [name for name, value in read(example).items() if not value]
    known = read(existing) if existing is not None else {}
    missing = [name for name in wanted if not known.get(name)]
    text = example if existing is None else existing
    for name in missing:
        line = f"{name}={generate(name)}"
        text, found = re.subn(rf"^{name}=[ \t]*$", line, text, count=1, flags=re.MULTILINE)
        if not found:
            text = f"{text.rstrip()}\n{line}\n"
    return text, missing


def write_private(path: Path, text: str) -> None:
    """Replace the file whole, readable by its owner only from the first byte."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".env.")  # its mode is 600
    with os.fdopen(handle, "w") as file:
        file.write(text)
    Path(temporary).replace(path)


def main(folder: Path) -> int:
    target = folder / ".env"
    existing = target.read_text() if target.exists() else None
    text, added = complete((folder / ".env.example").read_text(), existing)
    write_private(target, text)
    if existing is None:
        print(f"wrote {target}, mode 600: {len(added)} generated secrets; keep a copy where you keep secrets")
    elif added:
        print(f"kept {target}, mode 600; added {', '.join(added)}")
    else:
        print(f"kept {target}, mode 600; it lacks nothing. Take a line out to have a new value for it")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT))
