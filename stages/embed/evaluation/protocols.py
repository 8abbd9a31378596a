"""Who is enrolled and who is looked for: the public datasets' protocols, and one for any other.

A protocol is a frozen config with one method, `roles`, that gives each sequence of a set its part.
Sources: CASIA-B (Yu, Tan, Tan, ICPR 2006) as evaluated since GaitSet (Chao et al., AAAI 2019);
OUMVLP (Takemura et al., IPSJ 2018); Gait3D (Zheng et al., CVPR 2022), whose probes a list names;
GREW (Zhu et al., ICCV 2021) on its own test subjects, since the real probes' names are not public.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.errors import InputError
from stages.embed.data.interface import Entry
from stages.embed.sequences import natural_key

# More kinds of probes than this are no groups worth a row of their own.
MAX_GROUPS = 12
ALL = "all"


@dataclass(frozen=True, slots=True, eq=False)
class Roles:
    """The parts of a set's sequences.

    Attributes:
        gallery: int64 [m], places in the set. probes: int64 [n].
        groups: each probe's group [n].
        group_names: in the order of the tables.
        cross_view: pairs of one view do not count.
        notes: what the reader of a report should know.
    """

    gallery: np.ndarray
    probes: np.ndarray
    groups: tuple[str, ...]
    group_names: tuple[str, ...]
    cross_view: bool
    notes: tuple[str, ...] = ()

    def within(self, kept: np.ndarray) -> Roles:
        """Return the parts in the smaller set of the sequences that `kept` (bool) keeps.

        Who plays which part does not change, so that networks that fail on different sequences
        are compared alike.

        Raises:
            InputError: no gallery or no probe is left.
        """
        place = np.cumsum(kept) - 1
        chosen = kept[self.probes]
        gallery, probes = self.gallery[kept[self.gallery]], self.probes[chosen]
        if len(gallery) == 0 or len(probes) == 0:
            raise InputError(
                f"of {len(self.gallery)} gallery sequences and {len(self.probes)} probes only "
                f"{len(gallery)} and {len(probes)} could be embedded"
            )
        groups = tuple(group for group, keep in zip(self.groups, chosen, strict=True) if keep)
        return replace(self, gallery=place[gallery], probes=place[probes], groups=groups)


@dataclass(frozen=True, slots=True)
class KindProtocol:
    """Gallery and probes by kind.

    Attributes:
        gallery: kinds that are enrolled.
        groups: name of a group, and the kinds of its probes.
        cross_view: pairs of one view do not count.
    """

    name: str
    gallery: tuple[str, ...]
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    cross_view: bool

    def roles(self, entries: Sequence[Entry]) -> Roles:
        """Return the parts; InputError if there is no gallery or no probe."""
        group_of = {kind: name for name, kinds in self.groups for kind in kinds}
        gallery = [i for i, entry in enumerate(entries) if entry.kind in self.gallery]
        probes = [i for i, entry in enumerate(entries) if entry.kind in group_of]
        groups = tuple(group_of[entries[i].kind] for i in probes)
        names = tuple(name for name, _ in self.groups if name in groups)
        absent = [name for name, _ in self.groups if name not in groups]
        notes = [f"no probes of group {name}" for name in absent]
        spare = len(entries) - len(gallery) - len(probes)
        if spare:
            notes.append(f"{spare} sequences are neither gallery nor probe")
        wanted = f"gallery {', '.join(self.gallery)}; probes {', '.join(group_of)}"
        return _checked(
            self.name, wanted, gallery, probes, groups, names, self.cross_view, tuple(notes)
        )


@dataclass(frozen=True, slots=True)
class NamedProbesProtocol:
    """Probes by name, as Gait3D's partition lists them; all others are the gallery.

    probes: subject-kind-view, or subject/kind/view.
    """

    probes: tuple[str, ...]
    name: str = "gait3d"

    def roles(self, entries: Sequence[Entry]) -> Roles:
        """Return the parts; InputError if there is no gallery or no probe."""
        listed = set(self.probes)
        is_probe = [bool(listed & {e.name, e.name.replace("/", "-")}) for e in entries]
        probes = [i for i, probe in enumerate(is_probe) if probe]
        gallery = [i for i, probe in enumerate(is_probe) if not probe]
        lost = len(listed) - len(probes)
        notes = (f"{lost} of {len(listed)} listed probes are not in the dataset",) if lost else ()
        wanted = f"the {len(listed)} sequences of PROBE_SET as probes"
        groups = (ALL,) * len(probes)
        return _checked(self.name, wanted, gallery, probes, groups, (ALL,), False, notes)


@dataclass(frozen=True, slots=True)
class FirstKindProtocol:
    """Any dataset: the first kind of each subject is the gallery, the rest are probes.

    First in the order of names, but normal walking (nm-…) before all else. Groups are what stands
    before the "-" of a kind. Pairs of one view do not count if there are several views.
    """

    name: str = "generic"

    def roles(self, entries: Sequence[Entry]) -> Roles:
        """Return the parts; InputError if there is no gallery or no probe."""
        first: dict[str, str] = {}
        for entry in entries:
            known = first.get(entry.subject)
            if known is None or _kind_key(entry.kind) < _kind_key(known):
                first[entry.subject] = entry.kind
        gallery = [i for i, entry in enumerate(entries) if entry.kind == first[entry.subject]]
        probes = [i for i, entry in enumerate(entries) if entry.kind != first[entry.subject]]
        groups = tuple(entries[i].kind.partition("-")[0] for i in probes)
        names = tuple(sorted(set(groups), key=_kind_key))
        if len(names) > MAX_GROUPS:
            groups, names = (ALL,) * len(probes), (ALL,)
        cross_view = len({entry.view for entry in entries}) > 1
        wanted = "two kinds of sequences or more for at least one subject"
        return _checked(self.name, wanted, gallery, probes, groups, names, cross_view, ())


Protocol = KindProtocol | NamedProbesProtocol | FirstKindProtocol

CASIA_B = KindProtocol(
    "casia-b",
    ("nm-01", "nm-02", "nm-03", "nm-04"),
    (("nm", ("nm-05", "nm-06")), ("bg", ("bg-01", "bg-02")), ("cl", ("cl-01", "cl-02"))),
    cross_view=True,
)
OUMVLP = KindProtocol("oumvlp", ("01",), ((ALL, ("00",)),), cross_view=True)
GREW = KindProtocol("grew", ("01",), ((ALL, ("02",)),), cross_view=False)
GENERIC = FirstKindProtocol()

BY_KIND = {protocol.name: protocol for protocol in (CASIA_B, OUMVLP, GREW)}
PROTOCOLS = ("auto", "casia-b", "gait3d", "oumvlp", "grew", "generic")


def choose_protocol(name: str, entries: Sequence[Entry], probes: Sequence[str] = ()) -> Protocol:
    """Return the protocol of a name; `auto` goes by the kinds and whether probes are listed.

    Args:
        probes: the partition's PROBE_SET, empty if it has none.

    Raises:
        InputError: an unknown name, or gait3d without listed probes.
    """
    if name == "auto":
        return NamedProbesProtocol(tuple(probes)) if probes else _by_kinds(entries)
    if name == "gait3d":
        if not probes:
            raise InputError(
                "protocol gait3d needs the list of probes",
                hint="Give a partition with PROBE_SET (--partition Gait3D.json).",
            )
        return NamedProbesProtocol(tuple(probes))
    if name == GENERIC.name:
        return GENERIC
    if name not in BY_KIND:
        raise InputError(f"no protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    return BY_KIND[name]


def _by_kinds(entries: Sequence[Entry]) -> Protocol:
    kinds = {entry.kind for entry in entries}
    casia = {kind for _, group in CASIA_B.groups for kind in group} | set(CASIA_B.gallery)
    if casia <= kinds:
        return CASIA_B
    views = {entry.view for entry in entries}
    if kinds == {"00", "01"} and all(v.isdecimal() and len(v) == 3 for v in views):
        return OUMVLP
    return GENERIC


def _kind_key(kind: str) -> tuple[bool, list[tuple[int, str]]]:
    return not kind.startswith("nm"), natural_key(kind)


def _checked(
    name: str,
    wanted: str,
    gallery: list[int],
    probes: list[int],
    groups: tuple[str, ...],
    group_names: tuple[str, ...],
    cross_view: bool,
    notes: tuple[str, ...],
) -> Roles:
    if not gallery or not probes:
        raise InputError(
            f"protocol {name} finds {len(gallery)} gallery sequences and {len(probes)} probes in "
            f"this dataset; it wants {wanted}",
            hint="Choose another protocol (--protocol), or check dataset and partition.",
        )
    places = (np.array(gallery, np.int64), np.array(probes, np.int64))
    return Roles(*places, groups, group_names, cross_view, notes)
