"""The files of a log (https://c2sp.org/tlog-tiles): its entries in bundles and the hashes over them in tiles of 256.

A file's name says what is in it, once and for all, so writing one again writes the same. Each is written beside its
place, synced and moved there; then the folders are synced: after a crash it is there whole or not at all.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from sealgate.formats import leaves, merkle

WIDTH = 256
"""Hashes in a full tile, entries in a full bundle."""
MIDDLE = 4
"""Half the height of a tile: 16 hashes there, each over 16 of its own."""
MIDDLES = 8192
"""Tiles of which these are remembered: a log of two million entries, at 6 MB."""
BLOCKS, EDGES = 1024, 16
"""Pieces of full tiles that are remembered, each the hashes under one at half height; and whole partial tiles."""
Step = Callable[[str], None]
"""Is told what was just done; tests end the process there."""

_NAME = re.compile(r"(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


class FilesError(Exception):
    """A file of the log is missing or is not what it must be."""


class UnreadableError(FilesError):
    """A file is there and cannot be read at the moment: that says nothing about what is in it."""


class Tile(NamedTuple):
    """A tile, or where ``level`` is None a bundle of entries; ``width`` is 256 where it is full."""

    level: int | None
    number: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where it is, below ``tile/``."""
        place = "entries" if self.level is None else str(self.level)
        return f"{place}/{_number(self.number)}" + ("" if self.width == WIDTH else f".p/{self.width}")


def named(path: str) -> Tile | None:
    """The tile at a path below ``tile/``; None where there can be none."""
    match = _NAME.fullmatch(path)
    if match is None or (match[3] and int(match[3]) >= WIDTH):
        return None
    number = int(match[2].replace("x", "").replace("/", ""))
    tile = Tile(None if match[1] == "entries" else int(match[1]), number, int(match[3]) if match[3] else WIDTH)
    return tile if tile.path == path else None


def _number(number: int) -> str:
    """Three digits at a time, ``x`` before all but the last: 1234067 is x001/x234/067."""
    text = f"{number:03d}"
    text = text.zfill(-(-len(text) // 3) * 3)
    parts = [text[at : at + 3] for at in range(0, len(text), 3)]
    return "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])


class Middles:
    """The hashes at half the height of full tiles; with them a proof from anywhere hashes as little as a recent one."""

    def __init__(self) -> None:
        self._kept: dict[Tile, bytes] = {}
        self._lock = Lock()

    def find(self, tile: Tile) -> list[bytes] | None:
        data = self._kept.get(tile)
        return None if data is None else split(data)

    def keep(self, tile: Tile, hashes: Sequence[bytes]) -> list[bytes]:
        """Those of a full tile with these hashes."""
        found = [_inner(hashes, MIDDLE, first) for first in range(0, WIDTH, 1 << MIDDLE)]
        with self._lock:
            if len(self._kept) >= MIDDLES:
                del self._kept[next(iter(self._kept))]
            self._kept[tile] = b"".join(found)
        return found


class Edge:
    """The right edge of a growing tree: the tile that is being filled, at each level, and the bundle."""

    def __init__(
        self,
        levels: Sequence[Sequence[bytes]] = (),
        bundle: Sequence[bytes] = (),
        size: int = 0,
        middles: Middles | None = None,
    ) -> None:
        self.size = size
        self._middles = middles or Middles()
        self._levels = [list(each) for each in levels]
        self._bundle = list(bundle)
        self._known: list[dict[tuple[int, int], bytes]] = [{} for _ in self._levels]
        """Hashes within the tiles that are not full: above the lowest one they hardly change between checkpoints."""

    def copy(self, middles: Middles) -> Edge:
        """Another one of the same tree, which remembers there what tiles it fills."""
        found = Edge(self._levels, self._bundle, self.size, middles)
        found._known = [dict(each) for each in self._known]
        return found

    def extend(self, entries: Sequence[bytes]) -> Iterator[tuple[Tile, bytes]]:
        """Take in entries; gives the tiles that are full by them."""
        at = 0
        while at < len(entries):
            number = self.size // WIDTH
            fitting = entries[at : at + WIDTH - len(self._bundle)]
            self._bundle += fitting
            if len(self._bundle) == WIDTH:
                yield Tile(None, number), bundled(self._bundle)
                self._bundle = []
            at += len(fitting)
            self.size += len(fitting)
            yield from self._add(0, [leaves.hash_of(entry) for entry in fitting], number)

    def _add(self, level: int, hashes: Sequence[bytes], number: int) -> Iterator[tuple[Tile, bytes]]:
        """Put hashes into the tile that is being filled; there is room for them."""
        if level == len(self._levels):
            self._levels.append([])
            self._known.append({})
        tile = self._levels[level]
        tile += hashes
        self._known[level].clear()
        if len(tile) == WIDTH:
            self._levels[level] = []
            yield Tile(level, number), b"".join(tile)
            middle = self._middles.keep(Tile(level, number), tile)
            yield from self._add(level + 1, [_inner(middle, 8 - MIDDLE, 0)], number // WIDTH)

    def partial(self) -> Iterator[tuple[Tile, bytes]]:
        """The tiles that are not full."""
        if self._bundle:
            yield Tile(None, self.size // WIDTH, len(self._bundle)), bundled(self._bundle)
        for level, tile in enumerate(self._levels):
            if tile:
                yield Tile(level, self.size >> 8 * (level + 1), len(tile)), b"".join(tile)

    def root(self) -> bytes:
        return merkle.root(self.size, self._node)

    def _node(self, height: int, number: int) -> bytes:
        level, within = divmod(height, 8)
        known, place = self._known[level], (within, (number << within) % WIDTH)
        if place not in known:
            known[place] = _inner(self._levels[level], *place)
        return known[place]


def bundled(entries: Iterable[bytes]) -> bytes:
    """Entries as a bundle: each behind its length in two bytes."""
    return b"".join([len(entry).to_bytes(2) + entry for entry in entries])


def unbundled(data: bytes) -> list[bytes]:
    """The entries of a bundle. Raises `FilesError`."""
    found, at = [], 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2])
        if at + 2 > len(data) or end > len(data):
            raise FilesError("a bundle of entries is cut off")
        found.append(data[at + 2 : end])
        at = end
    return found


def _inner(hashes: Sequence[bytes], height: int, first: int) -> bytes:
    """The hash over 2**height neighbours of a tile."""
    row = list(hashes[first : first + (1 << height)])
    while len(row) > 1:
        row = [merkle.node(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def split(data: bytes) -> list[bytes]:
    """Hashes side by side."""
    return [data[at : at + 32] for at in range(0, len(data), 32)]


class Files:
    """A log's folder. Methods block: they are for threads."""

    def __init__(self, folder: Path, step: Step = lambda _: None) -> None:
        self.folder = folder
        self._step = step
        self._rows = lru_cache(EDGES)(self._tree)
        self._blocks = lru_cache(BLOCKS)(self._block)
        self._middles = Middles()

    def write(self, path: str, data: bytes) -> None:
        """Put a file in its place so that it survives whatever comes next. Raises `OSError`."""
        _sync(self._move(path, data))

    def _move(self, path: str, data: bytes) -> Path:
        """Put a whole file in its place; the folder that is still to be synced."""
        place = self.folder / path
        _make(place.parent)
        draft = place.with_name(f".{place.name}-{secrets.token_hex(6)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            self._step("drafted")
            draft.rename(place)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        self._step("moved")
        return place.parent

    def extend(self, edge: Edge, entries: Iterable[bytes]) -> Edge:
        """Write the files of these further entries; the new edge.

        A file that is there already was moved by a try that came to nothing, maybe before its folder was synced: so all
        folders are, each once.
        """
        grown = edge.copy(self._middles)
        full = dict(grown.extend(list(entries)))
        tiles = {f"tile/{tile.path}": data for tile, data in (*full.items(), *grown.partial())}
        for path, data in tiles.items():
            if self.find(path) != data:
                self._move(path, data)
        for folder in {folder for path in tiles for folder in self._above(path)}:
            _sync(folder)
        for tile in full:
            shutil.rmtree(self.folder / f"tile/{tile.path}.p", ignore_errors=True)
        return grown

    def _above(self, path: str) -> Iterator[Path]:
        """The folders that a file is in, up to the log's own."""
        place = self.folder / path
        while place != self.folder:
            place = place.parent
            yield place

    def read(self, path: str) -> bytes | None:
        """A file below ``tile/`` as it is; None where there is none. Raises `FilesError`."""
        return self.find(f"tile/{path}")

    def find(self, path: str) -> bytes | None:
        """A file of the folder; None where there is none. Raises `UnreadableError`."""
        try:
            return (self.folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UnreadableError(f"{self.folder / path} cannot be read: {error.strerror}") from error

    def nodes(self, size: int) -> merkle.Nodes:
        """The tree of that size, whose checkpoint was published. It raises `FilesError` where a file is missing."""

        def found(height: int, number: int) -> bytes:
            level, within = divmod(height, 8)
            first = number << within
            width = min(WIDTH, (size >> 8 * level) - first // WIDTH * WIDTH)
            tile = Tile(level, first // WIDTH, width)
            if width < WIDTH:
                return self._rows(tile)[within][(first % WIDTH) >> within]
            if within < MIDDLE:
                return _inner(self._blocks(tile, (first % WIDTH) >> MIDDLE), within, first % (1 << MIDDLE))
            return _inner(self._middle(tile), within - MIDDLE, (first % WIDTH) >> MIDDLE)

        return found

    def _middle(self, tile: Tile) -> list[bytes]:
        """A full tile's hashes at half of its height."""
        found = self._middles.find(tile)
        return self._middles.keep(tile, self.hashes(tile)) if found is None else found

    def _tree(self, tile: Tile) -> list[list[bytes]]:
        """A tile's hashes, and those over two, four … of them."""
        rows = [self.hashes(tile)]
        for _ in range(7):
            row = rows[-1]
            rows.append([merkle.node(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)])
        return rows

    def hashes(self, tile: Tile) -> list[bytes]:
        """A tile's hashes; of a partial one also out of the full one. Raises `FilesError`."""
        data = self.read(tile.path)
        if data is None and tile.width < WIDTH:
            data = self.read(tile._replace(width=WIDTH).path)
        if data is None or len(data) % 32 or len(data) < 32 * tile.width:
            raise FilesError(f"{self.folder / 'tile' / tile.path} is missing or not whole")
        return split(data[: 32 * tile.width])

    def _block(self, tile: Tile, number: int) -> list[bytes]:
        """So many of a full tile's hashes as are under one at half of its height; nothing else of the file is read."""
        length = 32 << MIDDLE
        try:
            opened = os.open(f"{self.folder}/tile/{tile.path}", os.O_RDONLY)
            try:
                data = os.pread(opened, length, length * number)
            finally:
                os.close(opened)
        except OSError:
            data = b""
        if len(data) < length:
            raise FilesError(f"{self.folder / 'tile' / tile.path} is missing or not whole")
        return split(data)

    def entries(self, number: int, width: int) -> list[bytes]:
        """A bundle's entries. Raises `FilesError`."""
        tile = Tile(None, number, width)
        data = self.read(tile.path)
        if data is None and width < WIDTH:
            data = self.read(tile._replace(width=WIDTH).path)
        found = [] if data is None else unbundled(data)
        if len(found) < width:
            raise FilesError(f"{self.folder / 'tile' / tile.path} is missing or not whole")
        return found[:width]

    def edge(self, size: int, *, deep: bool = False, rest: Callable[[], None] = lambda: None) -> Edge:
        """Read the tree from its lowest tiles, and the tiles above against them; ``deep`` also the entries.

        ``rest`` is called after each tile. Raises `FilesError` where one file contradicts another.
        """
        levels: list[list[bytes]] = []
        bundle: list[bytes] = []
        below = _widths(size)
        tiles = [self._checked(number, width, deep) for number, width in _resting(below, rest)]
        if size % WIDTH:
            bundle = self.entries(size // WIDTH, size % WIDTH)
        hashes, count = tiles, size
        level = 0
        while True:
            partial = hashes[-1] if count % WIDTH and hashes else []
            levels.append(partial)
            full = hashes[: count // WIDTH]
            if not full:
                break
            roots = [
                _inner(self._middles.keep(Tile(level, number), each), 8 - MIDDLE, 0)
                for number, each in enumerate(_resting(full, rest))
            ]
            level, count = level + 1, len(full)
            hashes = []
            for number, width in _widths(count):
                stored = self.hashes(Tile(level, number, width))
                if stored != roots[number * WIDTH : number * WIDTH + width]:
                    raise FilesError(f"the tile {Tile(level, number, width).path} is not over the tiles below it")
                hashes.append(stored)
        return Edge(levels, bundle, size)

    def _checked(self, number: int, width: int, deep: bool) -> list[bytes]:
        found = self.hashes(Tile(0, number, width))
        if deep and found != [leaves.hash_of(entry) for entry in self.entries(number, width)]:
            raise FilesError(f"the entries {Tile(None, number, width).path} are not those of their tile")
        return found


def _widths(count: int) -> list[tuple[int, int]]:
    """Number and width of the tiles that hold so many hashes."""
    full = [(number, WIDTH) for number in range(count // WIDTH)]
    return [*full, (count // WIDTH, count % WIDTH)] if count % WIDTH else full


def _resting(items: Iterable[Any], rest: Callable[[], None]) -> Iterator[Any]:
    for item in items:
        yield item
        rest()


def _make(folder: Path) -> None:
    """Make a folder, and let each one it is in know of it for good."""
    if folder.exists():
        return
    _make(folder.parent)
    folder.mkdir(mode=0o755, exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
