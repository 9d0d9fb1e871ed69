"""The configuration file: frozen models, one sentence per key, and messages that name the line.

`config.toml` in the repository root is `example()`, checked by a test: a key, its default and its
sentence have this module as their only source. Paths are relative to the file's folder.
"""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dicomseg.errors import LumbarError
from dicomseg.read.rules import DEFAULT_RULES, PREDICATE_NAMES, Rule
from node.config import text as config_text
from node.config.text import nearest

AE = Annotated[str, Field(pattern=r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$")]
"""An application entity title: 1 to 16 characters of ASCII without backslash (PS3.5 6.2)."""

Port = Annotated[int, Field(ge=1, le=65535)]
ObjectFile = Literal["seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm"]
OBJECT_FILES: Final[tuple[ObjectFile, ...]] = (
    "seg.dcm",
    "midplane.dcm",
    "measurements.dcm",
    "volumes.dcm",
)


class ConfigRefused(LumbarError):
    """The configuration file cannot be used; the message names the line and what to change."""

    code = "config"
    exit_code = 2


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=_Section)

_TEXT: Final = r"^[^\\\x00-\x1f\x7f]*$"
"""What a text of one line may hold in an object (PS3.5 6.2): no backslash, no control character."""


class NodeConfig(_Section):
    """`[node]`: who the node is."""

    ae_title: AE = Field(description="The node's own AE title; required.")
    host: str = Field(
        default="127.0.0.1",
        description='Address to listen on; "0.0.0.0" is every network interface.',
    )
    port: Port = Field(default=11112, description="Port to listen on.")
    state: Path = Field(
        default=Path("state"),
        description="Folder of everything kept: spool, results, quarantine, journal; on one file system.",
    )
    name: str = Field(
        default="lumbar-node", description="The node's name in its log and its status."
    )
    station: str = Field(
        default="", max_length=16, pattern=_TEXT,
        description="Station Name in the results; empty leaves it out.",
    )  # fmt: skip


class ReceiveConfig(_Section):
    """`[receive]`: who may send, and how much."""

    calling_ae_titles: tuple[AE, ...] = Field(
        default=(), description="AE titles that may send; empty accepts every one."
    )
    called_ae_titles: tuple[AE, ...] = Field(
        default=(), description="AE titles the node answers to; empty means its own only."
    )
    peers: tuple[str, ...] = Field(
        default=(),
        description='Addresses and networks that may connect, as "10.1.0.0/16"; empty accepts every one.',
    )
    max_associations: int = Field(default=20, ge=1, le=200, description="Associations at one time.")
    max_associations_per_peer: int = Field(
        default=10, ge=1, le=200, description="Of these, from one address."
    )
    reserved_associations: int = Field(
        default=4,
        ge=0,
        description="Of these, kept free for known peers: those that [receive] names, or that have stored an object.",
    )
    idle_seconds: float = Field(
        default=30.0, gt=0, description="Seconds of silence after which an association is closed."
    )
    least_kb_per_second: float = Field(
        default=4.0,
        gt=0,
        description="A sender that is idle_seconds behind this rate within an object is ended.",
    )
    max_object_mb: int = Field(
        default=1024,
        ge=1,
        description="Largest object accepted, in MB; inflated, where it is deflated.",
    )
    max_unfinished_mb: int = Field(
        default=8192,
        ge=1,
        description="Most MB of objects of all senders that have begun and not ended; they lie on disk.",
    )
    disk_low_mb: int = Field(
        default=1024,
        ge=0,
        description="Free disk space in MB below which new associations are refused, but for C-ECHO.",
    )
    disk_high_mb: int = Field(
        default=2048, ge=0, description="Free disk space in MB from which they are accepted again."
    )

    @field_validator("peers")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for peer in value:
            ipaddress.ip_network(peer, strict=False)
        return value

    @model_validator(mode="after")
    def _watermarks(self) -> ReceiveConfig:
        if self.disk_high_mb < self.disk_low_mb:
            raise ValueError("disk_high_mb is below disk_low_mb; make it the larger one")
        return self


class RuleConfig(_Section):
    """`[[select.rule]]`: one way for a series to be eligible; a series needs one rule's yes."""

    name: str = Field(min_length=1, description="Name of the rule in verdicts.")
    all: tuple[str, ...] = Field(
        default=(),
        description=f"Predicates that must all say yes, of: {', '.join(PREDICATE_NAMES)}.",
    )
    any: tuple[str, ...] = Field(
        default=(), description="Predicates of which at least one must say yes; empty asks none."
    )

    @field_validator("all", "any")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in PREDICATE_NAMES:
                raise ValueError(f'no predicate "{name}"{nearest(name, PREDICATE_NAMES)}')
        return value

    @model_validator(mode="after")
    def _asks(self) -> RuleConfig:
        if not self.all and not self.any:
            raise ValueError("the rule asks nothing; give it predicates in all or any")
        return self

    def rule(self) -> Rule:
        """Return the rule as `dicomseg.read.rules` judges it."""
        return Rule(self.name, self.all, self.any)


class SelectConfig(_Section):
    """`[select]`: holds the rules."""

    rule: tuple[RuleConfig, ...] = Field(
        default=tuple(RuleConfig(name=r.name, all=r.all, any=r.any) for r in DEFAULT_RULES),
        description="",
    )


class TrackConfig(_Section):
    """`[track]`: when a series is complete."""

    quiet_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Seconds without a new slice after which gaps make it incomplete.",
    )
    settle_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Seconds without a new slice after which a regular grid of unknown count is complete.",
    )
    expected_count: Literal["header", "query", "none"] = Field(
        default="header",
        description='Where the number of slices is learnt: "header", "query" (the sender is asked too) or "none".',
    )
    query: str = Field(
        default="",
        description='Name of the dicom or dicomweb destination that is the sender and is asked by "query".',
    )


class WorkConfig(_Section):
    """`[work]`: the processes that segment."""

    processes: int = Field(
        default=1, ge=1, le=16, description="Worker processes; each holds the model."
    )
    time_limit_seconds: float = Field(
        default=900.0,
        gt=0,
        description="Seconds for one series, after which its worker is replaced.",
    )
    heartbeat_seconds: float = Field(
        default=2.0, gt=0, description="Seconds between signs of life of a worker."
    )
    memory_limit_mb: int = Field(
        default=6144,
        ge=512,
        description="Memory of one worker in MB, above which it is replaced; a series needs about 1500.",
    )
    max_attempts: int = Field(
        default=3,
        ge=1,
        description="Attempts at one series when the worker dies; then it has failed. A restart of the node is none.",
    )


class ModelConfig(_Section):
    """`[model]`: the bundle and how it is run."""

    bundle: str = Field(
        default="", description="Folder of the model bundle; empty is the shipped one."
    )
    engine: Literal["auto", "torch", "openvino"] = Field(
        default="auto",
        description='"auto" is torch on a GPU and OpenVINO on the CPU; else "torch" or "openvino".',
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description='"auto" is the GPU where there is one; else "cpu" or "cuda".'
    )
    threads: int = Field(
        default=0, ge=0, description="CPU threads of the engine; 0 is what torch takes, every core."
    )
    precision: Literal["auto", "float32"] = Field(
        default="auto",
        description='"auto" is 16-bit floats on a GPU and 32-bit on the CPU; "float32" is 32-bit on both.',
    )
    cache: str = Field(
        default="",
        description="Folder of converted networks; empty is engines in the service's state folder.",
    )


class ResultsConfig(_Section):
    """`[results]`: how the objects name their maker. A change here makes new results."""

    manufacturer: str = Field(
        default="lumbar-node",
        min_length=1,
        max_length=64,
        pattern=_TEXT,
        description="Manufacturer.",
    )
    model_name: str = Field(
        default="lumbar-node", min_length=1, max_length=64, pattern=_TEXT,
        description="Manufacturer's Model Name.",
    )  # fmt: skip
    device_serial_number: str = Field(
        default="0", min_length=1, max_length=64, pattern=_TEXT, description="Device Serial Number."
    )


class ScheduleConfig(_Section):
    """`[training.schedule]`: when a retraining is enqueued, and with what. Nothing is promoted by itself."""

    cron: str = Field(
        default="",
        description='Times in UTC as minute, hour, day, month, weekday: "0 3 * * sun"; empty is never.',
    )
    data: str = Field(default="", description="Folder of prepared cases.")
    held_out: str = Field(
        default="", description="JSON file of the fixed held-out cases (`lumbar-train held-out`)."
    )
    recipe: str = Field(default="", description="Recipe (TOML); empty is the default one.")
    minimum_new_cases: int = Field(
        default=10,
        ge=0,
        description="Cases that came or changed since the last comparison, below which nothing is enqueued.",
    )
    margin: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Dice by which no structure's mean may be worse than that of the model in service.",
    )
    max_hours: float = Field(
        default=12.0,
        gt=0,
        description="Hours of training per start; it goes on when enqueued again.",
    )

    @field_validator("cron")
    @classmethod
    def _times(cls, value: str) -> str:
        if value:
            from node.config.cron import trigger_of  # noqa: PLC0415 - only where there is a schedule

            trigger_of(value)
        return value

    @model_validator(mode="after")
    def _complete(self) -> ScheduleConfig:
        missing = next((k for k in ("data", "held_out") if self.cron and not getattr(self, k)), "")
        if missing:
            raise ValueError(f"cron needs {missing}; give both, or leave cron empty")
        return self


class TrainingConfig(_Section):
    """`[training]`: holds the schedule."""

    schedule: ScheduleConfig = ScheduleConfig()


class _Destination(_Section):
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="Name of the destination."
    )
    objects: tuple[ObjectFile, ...] = Field(
        default=OBJECT_FILES, min_length=1, description="Files of a result that are sent."
    )
    max_tries: int = Field(default=20, ge=1, description="Tries before the delivery is given up.")
    first_wait_seconds: float = Field(
        default=5.0,
        gt=0,
        description="Seconds before the second try; doubled for each further one.",
    )
    max_wait_seconds: float = Field(
        default=900.0, gt=0, description="Longest wait between two tries."
    )
    timeout_seconds: float = Field(default=30.0, gt=0, description="Seconds to wait for an answer.")
    withdraw: bool = Field(
        default=False,
        description="Send a rejection note (IHE IOCM) for a result that a corrected or later one replaces.",
    )


class DicomDestination(_Destination):
    """`kind = "dicom"`: C-STORE; proof of storage by C-FIND where the peer answers it."""

    kind: Literal["dicom"] = Field(description="C-STORE to a PACS.")
    ae_title: AE = Field(description="AE title of the peer; required.")
    host: str = Field(min_length=1, description="Address of the peer; required.")
    port: Port = Field(description="Port of the peer; required.")
    calling_ae_title: AE | Literal[""] = Field(
        default="", description="AE title the node calls itself; empty is its own."
    )
    prove: bool = Field(
        default=True, description="Ask the peer by C-FIND whether it holds every object."
    )


class DicomwebDestination(_Destination):
    """`kind = "dicomweb"`: STOW-RS; proof of storage by QIDO-RS where the server answers it."""

    kind: Literal["dicomweb"] = Field(description="STOW-RS to a DICOMweb server.")
    url: str = Field(
        pattern=r"^https?://\S+$", description="Address of the DICOMweb service; required."
    )
    authorization_file: str = Field(
        default="",
        description='File with the Authorization header, as "Bearer …"; empty sends none.',
    )
    prove: bool = Field(
        default=True, description="Ask the server by QIDO-RS whether it holds every object."
    )

    @field_validator("url")
    @classmethod
    def _no_query(cls, value: str) -> str:
        if "?" in value or "#" in value:
            raise ValueError(
                "paths are appended to it, so it ends before any ? or #; give secrets in authorization_file"
            )
        return value


class FolderDestination(_Destination):
    """`kind = "folder"`: files on disk, proved by reading them back."""

    kind: Literal["folder"] = Field(description="Files in a folder.")
    path: Path = Field(description="Folder that gets one folder per result; required.")


DestinationConfig = Annotated[
    DicomDestination | DicomwebDestination | FolderDestination, Field(discriminator="kind")
]


class _Node(NodeConfig):
    destination: tuple[DestinationConfig, ...] = Field(default=(), description="")

    @field_validator("destination")
    @classmethod
    def _one_name_each(cls, value: tuple[DestinationConfig, ...]) -> tuple[DestinationConfig, ...]:
        names = [d.name for d in value]
        doubled = sorted({n for n in names if names.count(n) > 1})
        if doubled:
            raise ValueError(f'two destinations are named "{doubled[0]}"; rename one')
        return value


class Config(_Section):
    """The whole file. Below `supervise` a function gets its section, never this."""

    node: _Node
    receive: ReceiveConfig = ReceiveConfig()
    select: SelectConfig = SelectConfig()
    track: TrackConfig = TrackConfig()
    work: WorkConfig = WorkConfig()
    model: ModelConfig = ModelConfig()
    results: ResultsConfig = ResultsConfig()
    training: TrainingConfig = TrainingConfig()

    @field_validator("track")
    @classmethod
    def _sender_is_known(cls, value: TrackConfig, info: ValidationInfo) -> TrackConfig:
        node = info.data.get("node")
        if value.expected_count != "query" or node is None:
            return value
        names = [d.name for d in node.destination if d.kind != "folder"]
        if value.query not in names:
            told = nearest(value.query, names) if names else "; none is configured"
            raise ValueError(
                f'query = "{value.query}" is no dicom or dicomweb destination{told}; name the one'
                ' that sends, or set expected_count = "header"'
            )
        return value

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The selection rules in their order."""
        return tuple(r.rule() for r in self.select.rule)

    @property
    def destinations(self) -> tuple[DestinationConfig, ...]:
        """The destinations in their order."""
        return self.node.destination


def defaults(folder: Path | None = None) -> Config:
    """Return the configuration without a file, for commands that need no AE title."""
    return _resolved(Config(node=_Node(ae_title="LUMBARNODE")), folder or Path.cwd())


def load(path: Path) -> Config:
    """Read, check and resolve a configuration file. Raises `ConfigRefused`."""
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except OSError as error:
        raise ConfigRefused(
            f"{path}: cannot be read ({error.strerror}); give the file with --config"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigRefused(f"{path}: not UTF-8 text; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigRefused(f"{path}: {error}; correct the TOML there") from error
    try:
        return _resolved(Config.model_validate(raw), path.resolve().parent)
    except ValidationError as error:
        raise ConfigRefused(f"{path}:{config_text.message(text, raw, error, Config)}") from error


def _resolved(config: Config, folder: Path) -> Config:
    """Make every path absolute, relative ones from the file's folder."""

    def place(destination: DestinationConfig) -> DestinationConfig:
        if isinstance(destination, FolderDestination):
            return destination.model_copy(update={"path": folder / destination.path})
        if isinstance(destination, DicomwebDestination) and destination.authorization_file:
            file = str(folder / destination.authorization_file)
            return destination.model_copy(update={"authorization_file": file})
        return destination

    node = config.node.model_copy(
        update={
            "state": folder / config.node.state,
            "destination": tuple(place(d) for d in config.node.destination),
        }
    )
    model = _placed(config.model, folder, "bundle", "cache")
    schedule = _placed(config.training.schedule, folder, "data", "held_out", "recipe")
    training = config.training.model_copy(update={"schedule": schedule})
    return config.model_copy(update={"node": node, "model": model, "training": training})


def _placed(section: S, folder: Path, *keys: str) -> S:
    """Make these paths of a section absolute; an empty one stays empty."""
    told = {key: getattr(section, key) for key in keys}
    return section.model_copy(update={k: str(folder / v) for k, v in told.items() if v})


_EXAMPLES: Final = (
    FolderDestination(name="folder", kind="folder", path=Path("state/delivered")),
    DicomDestination(name="pacs", kind="dicom", ae_title="PACS", host="127.0.0.1", port=4242),
    DicomwebDestination(name="web", kind="dicomweb", url="http://127.0.0.1:8042/dicom-web"),
)


def example() -> str:
    """Return the text of `config.toml`: every key with its default; the servers are commented out."""
    folder, *servers = _EXAMPLES
    text = config_text.render(Config(node=_Node(ae_title="LUMBARNODE", destination=(folder,))))
    receive = text.index("\n# Who may send")
    commented = [
        f"#{line}" if line and not line.startswith("#") else line
        for server in servers
        for line in config_text.table(server, "[[node.destination]]", comments=True)
    ]
    return _INTRODUCTION + text[:receive] + "\n".join(commented) + "\n" + text[receive:]


_INTRODUCTION: Final = """\
# Every key of lumbar-node with its default. Delete what you do not change; only the AE titles and
# the destinations have no default. Relative paths start at this file's folder.
# Try it: lumbar-node check-config

"""
