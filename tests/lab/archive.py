"""Files by absolute path, as the tar archive that puts them there."""

import io
import tarfile
from collections.abc import Mapping


def tar(files: Mapping[str, bytes], mode: int = 0o644) -> bytes:
    """Return an archive of files owned by root, to unpack in `/`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in sorted(files.items()):
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
