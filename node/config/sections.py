"""The sections of the configuration file: frozen models, one sentence per key.

`config.toml` in the repository root is `node.config.example.example()`, checked by a test: a key, its
default and its sentence have these models as their only source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from dicomseg.read.rules import DEFAULT_RULES, PREDICATE_NAMES, Rule
from node.config.audit import AuditConfig
from node.config.cluster import ClusterConfig
from node.config.destinations import DestinationConfig
from node.config.fields import AE, FileName, Folder, Link, Port, Section, Text
from node.config.metrics import MetricsConfig
from node.config.notify import NotifyConfig
from node.config.profiles import PICTURES
from node.config.pull import PullConfig
from node.config.receive import ReceiveConfig
from node.config.retention import RetentionConfig
from node.config.schedule import TrainingConfig
from node.config.selftest import SelftestConfig
from node.config.tls import TlsConfig
from node.config.web import WebConfig
from node.config.words import nearest
from node.config.work import WorkConfig


class NodeConfig(Section):
    """`[node]`: who the node is."""

    ae_title: AE = Field(description="The node's own AE title; required.")
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description='Address to listen on; "0.0.0.0" = all network interfaces.',
    )
    port: Port = Field(default=11112, description="Port to listen on.")
    state: Folder = Field(
        default=Path("state"),
        description="State directory (spool, results, quarantine, journal). Must be a single file system.",
    )
    name: str = Field(default="lumbar-node", description="The node's name in its log and status.")
    station: Text = Field(
        default="", max_length=16, description="Station Name in the results; empty leaves it out."
    )
    destination: tuple[DestinationConfig, ...] = Field(default=(), description="")

    @field_validator("destination")
    @classmethod
    def _one_name_each(cls, value: tuple[DestinationConfig, ...]) -> tuple[DestinationConfig, ...]:
        names = [d.name for d in value]
        doubled = sorted({n for n in names if names.count(n) > 1})
        if doubled:
            raise ValueError(f'two destinations are named "{doubled[0]}"; rename one')
        return value


def _known_predicate(value: str) -> str:
    if value not in PREDICATE_NAMES:
        raise ValueError(f'unknown predicate "{value}"{nearest(value, PREDICATE_NAMES)}')
    return value


Predicate = Annotated[str, AfterValidator(_known_predicate)]


class RuleConfig(Section):
    """`[[select.rule]]`: one way for a series to be eligible; it must satisfy at least one rule."""

    name: str = Field(min_length=1, description="Name of the rule in verdicts.")
    all: tuple[Predicate, ...] = Field(
        default=(),
        description=f"Predicates that must all be true. One of: {', '.join(PREDICATE_NAMES)}.",
    )
    any: tuple[Predicate, ...] = Field(
        default=(),
        description="Predicates of which at least one must be true; empty = no condition.",
    )

    @model_validator(mode="after")
    def _asks(self) -> RuleConfig:
        if not self.all and not self.any:
            raise ValueError("the rule has no predicates; set all or any")
        return self

    def rule(self) -> Rule:
        """Return the rule as `dicomseg.read.rules` judges it."""
        return Rule(self.name, self.all, self.any)


class SelectConfig(Section):
    """`[select]`: holds the rules."""

    rule: tuple[RuleConfig, ...] = Field(
        default=tuple(RuleConfig(name=r.name, all=r.all, any=r.any) for r in DEFAULT_RULES),
        description="",
    )


class TrackConfig(Section):
    """`[track]`: when a series is complete."""

    quiet_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Seconds without a new slice after which a series with gaps is incomplete.",
    )
    settle_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Seconds without a new slice after which a regular series of unknown length is complete.",
    )
    expected_count: Literal["header", "query", "none"] = Field(
        default="header",
        description='Source of the expected slice count: "header", "query" (ask the sender too) or "none".',
    )
    query: str = Field(
        default="",
        description='Name of the dicom or dicomweb destination that "query" asks: the sender.',
    )


class ModelConfig(Section):
    """`[model]`: the model bundle and its inference engine."""

    bundle: FileName = Field(default="", description="Folder of the model bundle; empty = the shipped one.")  # fmt: skip
    engine: Literal["auto", "torch", "openvino"] = Field(
        default="auto",
        description='Inference engine: "torch", "openvino" or "auto" (torch on a GPU, OpenVINO on a CPU).',
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description='Device: "cpu", "cuda" or "auto" (the GPU if there is one).'
    )
    threads: int = Field(
        default=0, ge=0, description="CPU threads for inference; 0 = all cores."
    )  # fmt: skip
    precision: Literal["auto", "float32"] = Field(
        default="auto",
        description='Precision: "float32" or "auto" (16-bit on a GPU, 32-bit on a CPU).',
    )
    cache: FileName = Field(
        default="",
        description="Folder of networks converted from a bundle without graphs; empty = engines in the state directory.",
    )


class ResultsConfig(Section):
    """`[results]`: what is made, equipment attributes, and a viewer. A change yields new results (new UIDs), but for `followup` and `viewer`."""

    pictures: bool = Field(
        default=True,
        description="Also draw the page (summary.dcm, report.dcm) and the surfaces (surface.dcm, surfaces/).",
    )
    language: Literal["en", "de"] = Field(default="en", description='Language of the page: "en" or "de".')  # fmt: skip
    followup: bool = Field(
        default=False, description="Also make a follow-up in the newest study of a patient with several: report and page."
    )  # fmt: skip
    viewer: Link = Field(
        default="",
        max_length=500,
        description="Link that list and why print for a result: an address with {study} and {result}; empty = none.",
    )
    manufacturer: Text = Field(
        default="lumbar-node", min_length=1, max_length=64, description="Manufacturer."
    )
    model_name: Text = Field(
        default="lumbar-node", min_length=1, max_length=64, description="Manufacturer's Model Name."
    )
    device_serial_number: Text = Field(default="0", min_length=1, max_length=64, description="Device Serial Number.")  # fmt: skip


class Config(Section):
    """The complete file. Below the composition root a function gets its section, never this."""

    node: NodeConfig
    receive: ReceiveConfig = ReceiveConfig()
    pull: PullConfig = PullConfig()
    metrics: MetricsConfig = MetricsConfig()
    web: WebConfig = WebConfig()
    tls: TlsConfig = Field(default=TlsConfig(), validate_default=True)
    select: SelectConfig = SelectConfig()
    track: TrackConfig = TrackConfig()
    work: WorkConfig = WorkConfig()
    cluster: ClusterConfig = Field(default=ClusterConfig(), validate_default=True)
    model: ModelConfig = ModelConfig()
    results: ResultsConfig = ResultsConfig()
    retention: RetentionConfig = RetentionConfig()
    selftest: SelftestConfig = SelftestConfig()
    audit: AuditConfig = AuditConfig()
    training: TrainingConfig = TrainingConfig()
    notify: NotifyConfig = NotifyConfig()

    @field_validator("tls")
    @classmethod
    def _files_are_named(cls, value: TlsConfig, info: ValidationInfo) -> TlsConfig:
        node, receive = info.data.get("node"), info.data.get("receive")
        if receive is not None and receive.tls != "off":
            value.require(
                f'[receive] tls = "{receive.tls}"', pair=True, trusted=receive.tls == "mutual"
            )
        metrics = info.data.get("metrics")
        if metrics is not None and metrics.port and metrics.tls:
            value.require("[metrics] tls = true", pair=True, trusted=False)
        web = info.data.get("web")
        if web is not None and web.port and web.tls:
            value.require("[web] tls = true", pair=True, trusted=False)
        for d in () if node is None else node.destination:
            if d.kind == "dicom" and d.tls:
                value.require(f'destination "{d.name}" with tls = true', pair=False, trusted=True)
        pull = info.data.get("pull")
        for s in () if pull is None else pull.source:
            if s.kind != "dicomweb" and s.tls:
                value.require(f'source "{s.name}" with tls = true', pair=False, trusted=True)
        return value

    @field_validator("web")
    @classmethod
    def _archive_is_known(cls, value: WebConfig, info: ValidationInfo) -> WebConfig:
        node = info.data.get("node")
        if not value.archive or node is None:
            return value
        names = [d.name for d in node.destination if d.kind == "dicomweb"]
        if value.archive not in names:
            hint = nearest(value.archive, names) if names else "; none is configured"
            raise ValueError(f'archive = "{value.archive}" is not a dicomweb destination{hint}')
        return value

    @field_validator("cluster")
    @classmethod
    def _scheduler_is_named(cls, value: ClusterConfig, info: ValidationInfo) -> ClusterConfig:
        work = info.data.get("work")
        if work is not None and work.engine == "dask" and not value.scheduler:
            raise ValueError(
                '[work] engine = "dask" needs [cluster] scheduler; write e.g. "tls://10.1.2.3:8786"'
            )
        return value

    @field_validator("retention")
    @classmethod
    def _leaves_before_reception_stops(
        cls, value: RetentionConfig, info: ValidationInfo
    ) -> RetentionConfig:
        receive = info.data.get("receive")
        if receive is not None and value.free_gb and value.free_gb * 1000 < receive.disk_high_mb:
            raise ValueError(
                f"free_gb = {value.free_gb:g} is below [receive] disk_high_mb = {receive.disk_high_mb}:"
                " associations would be rejected first; raise free_gb"
            )
        return value

    @field_validator("audit")
    @classmethod
    def _collector_is_trusted(cls, value: AuditConfig, info: ValidationInfo) -> AuditConfig:
        tls = info.data.get("tls")
        if value.by_tls and tls is not None:
            tls.require("[audit] syslog by tls", pair=False, trusted=True)
        return value

    @field_validator("track")
    @classmethod
    def _sender_is_known(cls, value: TrackConfig, info: ValidationInfo) -> TrackConfig:
        node = info.data.get("node")
        if value.expected_count != "query" or node is None:
            return value
        names = [d.name for d in node.destination if d.kind != "folder"]
        if value.query not in names:
            hint = nearest(value.query, names) if names else "; none is configured"
            raise ValueError(
                f'query = "{value.query}" is not a dicom or dicomweb destination{hint}; name the sender,'
                ' or set expected_count = "header"'
            )
        return value

    @field_validator("results")
    @classmethod
    def _pictures_are_made(cls, value: ResultsConfig, info: ValidationInfo) -> ResultsConfig:
        node = info.data.get("node")
        for d in () if node is None or value.pictures else node.destination:
            if PICTURES.issuperset(d.sends.objects):
                raise ValueError(
                    f'destination "{d.name}" takes pictures only, and pictures = false makes none;'
                    " set pictures = true, or other objects"
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
