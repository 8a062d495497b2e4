"""What a folder holds, to see that nothing in it was touched."""

from pathlib import Path


def tree(folder: Path) -> dict[str, bytes | None]:
    """Content by path, None for a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }
