"""A folder that behaves as Linux's own for attestation reports, with what can go wrong with it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from sealgate.receipts.attestation import Folders

MEASUREMENT = bytes(range(48))


def snp(report_data: bytes) -> bytes:
    """A report of SEV-SNP by its form: nobody has signed it."""
    body = bytearray(0x4A0)
    body[0:4] = (3).to_bytes(4, "little")
    body[0x50:0x90] = report_data
    body[0x90:0xC0] = MEASUREMENT
    return bytes(body)


def tdx(report_data: bytes, version: int = 4, body_type: int = 2) -> bytes:
    """A quote of TDX by its form: the head, the body's type and size (version 5), the body, a signature of nobody."""
    head = version.to_bytes(2, "little") + (2).to_bytes(2, "little") + (0x81).to_bytes(4, "little") + bytes(40)
    size = {2: 584, 3: 648}[body_type]
    body = bytearray(size)
    body[136:184] = MEASUREMENT
    body[520:584] = report_data
    kind = b"" if version == 4 else body_type.to_bytes(2, "little") + size.to_bytes(4, "little")
    return head + kind + bytes(body) + (100).to_bytes(4, "little") + bytes(100)


class Kernel(Folders):
    """``disturbed`` times somebody else writes into the folder of a report before it is read to the end."""

    def __init__(
        self,
        root: Path,
        *,
        report: Callable[[bytes], bytes] = snp,
        provider: str = "sev_guest",
        auxiliary: bytes | None = b"certificates",
        disturbed: int = 0,
        notices: bool = False,
    ) -> None:
        super().__init__(root)
        self.report = report
        self.provider = provider
        self.auxiliary = auxiliary
        self.disturbed = disturbed
        self.notices = notices
        """Whether reading fails then, as in Linux, or only the number of writes shows it."""
        self.asked: list[bytes] = []

    def make(self, name: str) -> None:
        super().make(name)
        files = {"inblob": b"", "outblob": b"", "generation": b"0\n", "provider": f"{self.provider}\n".encode()}
        if self.auxiliary is not None:
            files["auxblob"] = self.auxiliary
        for file, data in files.items():
            (self.root / name / file).write_bytes(data)

    def write(self, name: str, file: str, data: bytes) -> None:
        super().write(name, file, data)
        self.asked.append(data)
        self._count(name)
        (self.root / name / "outblob").write_bytes(self.report(data))

    def read(self, name: str, file: str) -> bytes:
        if file == "outblob" and self.disturbed:
            self.disturbed -= 1
            self._count(name)
            if self.notices:
                raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        return super().read(name, file)

    def remove(self, name: str) -> None:
        shutil.rmtree(self.root / name)

    def _count(self, name: str) -> None:
        file = self.root / name / "generation"
        file.write_bytes(b"%d\n" % (int(file.read_bytes()) + 1))
