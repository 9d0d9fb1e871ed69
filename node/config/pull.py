"""`[pull]`, `[[pull.source]]`, `[[pull.rule]]`: where images are fetched that routing missed, and when."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from node.config.fields import AE, Name, Port, SecretFile, Section, Text, Url
from node.config.words import nearest

_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
LONGEST_NAME: Final = 16
"""Characters of a source's name: objects of a DICOMweb source are kept under it as their sender, an AE title."""


def _time(value: str) -> str:
    if not _TIME.fullmatch(value):
        raise ValueError(f'"{value}" is not a time of day; write e.g. "02:30"')
    return value


class _Source(Section):
    name: Name = Field(
        max_length=LONGEST_NAME,
        description="Name of the source in `pull --source`, the log and `status`; required.",
    )
    timeout_seconds: float = Field(
        default=30.0, gt=0, description="Seconds to wait for a response."
    )


class DicomSource(_Source):
    """`kind = "dicom-move"` or `"dicom-get"`: C-FIND, then C-MOVE to the node's own AE title, or C-GET."""

    kind: Literal["dicom-move", "dicom-get"] = Field(
        description='"dicom-move" (the PACS sends to the node\'s own AE title) or "dicom-get" (over the same connection); required.'
    )
    ae_title: AE = Field(description="AE title of the PACS; required.")
    host: str = Field(min_length=1, description="Host name or IP address of the PACS; required.")
    port: Port = Field(description="Port of the PACS; required.")
    calling_ae_title: AE | Literal[""] = Field(
        default="", description="Calling AE title; empty = the node's own."
    )
    tls: bool = Field(
        default=False,
        description="Connect by TLS: the peer's certificate must be of [tls] trusted and name its host.",
    )


class DicomwebSource(_Source):
    """`kind = "dicomweb"`: QIDO-RS and WADO-RS."""

    kind: Literal["dicomweb"] = Field(description="Protocol: QIDO-RS and WADO-RS.")
    url: Url = Field(description="Base address of the DICOMweb service; required.")
    authorization_file: SecretFile = Field(
        default="",
        description='File with the Authorization header, as "Bearer …", or "credential:NAME" of systemd; empty sends none.',
    )

    @property
    def is_https(self) -> bool:
        """Whether the address is one of TLS."""
        return self.url.lower().startswith("https:")


SourceConfig = Annotated[DicomSource | DicomwebSource, Field(discriminator="kind")]


class PullRuleConfig(Section):
    """`[[pull.rule]]`: every day, ask a source for MR studies of the last days that never came, and fetch them."""

    name: Name = Field(description="Name of the rule in the log and `status`; required.")
    source: str = Field(description="Name of the [[pull.source]] that is asked; required.")
    at: Annotated[str, AfterValidator(_time)] = Field(
        default="02:30", description="Local time at which it is asked."
    )
    days: int = Field(
        default=1,
        ge=1,
        le=30,
        description="Study dates that are asked for: 1 = yesterday and today; days without a run are added.",
    )
    body_parts: tuple[Text, ...] = Field(
        default=(),
        description="Series whose Body Part Examined has none of these beginnings are left; one without it is fetched. Empty = all.",
    )
    descriptions: tuple[Text, ...] = Field(
        default=(),
        description="Series whose description holds none of these texts are left; one without it is fetched. Empty = all.",
    )


class PullConfig(Section):
    """`[pull]`: fetching what routing missed."""

    patience_days: float = Field(
        default=3.0,
        gt=0,
        le=365,
        description="Days for which a pull is retried before it is marked failed.",
    )
    source: tuple[SourceConfig, ...] = Field(default=(), description="")
    rule: tuple[PullRuleConfig, ...] = Field(default=(), description="")

    @property
    def patience_s(self) -> float:
        """Seconds of `patience_days`."""
        return self.patience_days * 86_400.0

    @field_validator("source", "rule")
    @classmethod
    def _one_name_each(
        cls, value: tuple[DicomSource | DicomwebSource | PullRuleConfig, ...]
    ) -> tuple[DicomSource | DicomwebSource | PullRuleConfig, ...]:
        names = [v.name for v in value]
        doubled = sorted({n for n in names if names.count(n) > 1})
        if doubled:
            raise ValueError(f'"{doubled[0]}" is the name of two; rename one')
        return value

    @model_validator(mode="after")
    def _sources_are_there(self) -> PullConfig:
        names = [s.name for s in self.source]
        for rule in self.rule:
            if rule.source not in names:
                hint = nearest(rule.source, names) if names else "; none is configured"
                raise ValueError(f'rule "{rule.name}": no [[pull.source]] "{rule.source}"{hint}')
        return self
