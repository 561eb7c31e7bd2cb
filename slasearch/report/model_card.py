"""The README.md beside an export: what the adapter is, how well it does what, and how it is loaded.

The same trial gives the same text, but for what is measured on the machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import yaml

from slasearch import __version__
from slasearch.adapters.export import AdapterCard
from slasearch.config.backbones import hub_model
from slasearch.report.card_tables import (
    comparison_section,
    data_section,
    markdown_table,
    scores_section,
    structure_section,
    training_section,
)
from slasearch.report.choice import trial_label
from slasearch.report.labels import percent, thousands
from slasearch.report.origin import Origin
from slasearch.trial.measure import Measurement, Timing

__all__ = ["ExportFormat", "ModelCard", "model_card"]

ExportFormat = Literal["slasearch", "peft", "merged"]

_LIBRARIES = {"slasearch": "slasearch", "peft": "peft", "merged": "transformers"}
_BUNDLED = {"minilm": "sentence-transformers/all-MiniLM-L6-v2"}
"""What bundled models are called on the Hugging Face hub."""
_FORMS = {
    "slasearch": "`adapter.json` and `adapter.safetensors`, slasearch's own format",
    "peft": "the stock PEFT format; the head lies beside it in `head.safetensors`, labels in `slasearch.json`",
    "merged": "the whole backbone with the modules merged into its weights; the head lies beside it in "
    "`head.safetensors`, labels in `slasearch.json`",
}
_POOLING = {
    "mean": "the mean of last_hidden_state over the tokens that attention_mask keeps",
    "cls": "last_hidden_state of the first token that attention_mask keeps",
    "last": "last_hidden_state of the last token that attention_mask keeps",
}


@dataclass(frozen=True)
class ModelCard:
    """What a model card is made from.

    `parameters` holds each task's own count without its head. `measurement` is None where nothing was measured.
    """

    form: ExportFormat
    card: AdapterCard
    parameters: Mapping[str, int]
    origin: Origin
    measurement: Measurement | None


def model_card(facts: ModelCard) -> str:
    """The text of README.md: front matter as the Hugging Face hub reads it, then Markdown."""
    compared = facts.origin.comparison
    sections = [
        _what(facts),
        _loading(facts),
        data_section(facts.card, facts.origin),
        structure_section(facts.card, facts.parameters),
        scores_section(facts.card, facts.origin),
        *([] if compared is None else [comparison_section(facts.card, compared)]),
        training_section(facts.origin),
        _cost(facts),
        _backbone(facts),
    ]
    return f"{_front_matter(facts)}\n" + "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _front_matter(facts: ModelCard) -> str:
    base = _hub_id(facts.card.backbone.id)
    kinds = sorted({slot.kind for slot in facts.card.structure.union})
    content = {
        **({} if base is None else {"base_model": base}),
        "library_name": _LIBRARIES[facts.form],
        "tags": ["slasearch", "adapter", "text-classification", *kinds],
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---\n"


def _hub_id(backbone: str) -> str | None:
    """A backbone's name on the Hugging Face hub; None for a folder, which only this machine knows."""
    scheme, _, place = backbone.partition(":")
    if scheme == "hub":
        return hub_model(backbone)[0]
    return _BUNDLED[place] if scheme == "bundled" else None


def _what(facts: ModelCard) -> Iterator[str]:
    origin, card = facts.origin, facts.card
    tasks = " and ".join(task.name for task in card.tasks)
    role = origin.trial.role
    made = {"search": "a trial of the search", "winner": "a confirmed winner"}.get(role, role.replace(":", " "))
    yield f"# {tasks}: adapter of `{origin.frames.study.name}`, trial {trial_label(origin.trial)}"
    yield ""
    yield f"An adapter for text classification ({tasks}) on a frozen transformer, trained by slasearch ({made})."
    costs = origin.frames.costs
    found = costs[(costs["trial_id"] == origin.trial.id) & (costs["name"] == "backbone_parameters")]["value"]
    share = f", {percent(card.parameters / float(found.iloc[0]), 2)} of the backbone's" if len(found) else ""
    yield f"It has {thousands(card.parameters)} parameters without the heads{share}. Files: {_FORMS[facts.form]}."


def _loading(facts: ModelCard) -> Iterator[str]:
    yield "## Load it"
    yield ""
    yield "```python"
    yield from _code(facts)
    yield "```"
    if facts.form == "merged" and facts.card.backbone.precision == "bf16":
        yield ""
        yield "Each merged weight is rounded to bf16, so scores may differ from those below in the last digits."


def _code(facts: ModelCard) -> Iterator[str]:
    base = facts.origin.backbone
    if facts.form == "slasearch":
        yield "import slasearch"
        yield 'adapter = slasearch.Predictor.load("FOLDER")'
        text = '("One text", "and another")' if facts.card.tasks[0].pairs else '"A text to label"'
        yield f'adapter.predict("{facts.card.tasks[0].name}", [{text}])'
        yield '# in a model of your own: slasearch.load_adapter(model, "FOLDER")'
        return
    yield "from transformers import AutoModel"
    if facts.form == "peft":
        revision = f", revision={json.dumps(base.revision)}" if base.revision else ""
        dtype = "torch.bfloat16" if facts.card.backbone.precision == "bf16" else "torch.float32"
        yield "from peft import PeftModel"
        yield "import torch"
        yield f"backbone = AutoModel.from_pretrained({json.dumps(base.base)}{revision}, dtype={dtype})"
        yield 'model = PeftModel.from_pretrained(backbone, "FOLDER")'
    else:
        yield 'model = AutoModel.from_pretrained("FOLDER")'
    yield "# the head: one vector for each text, then logits"
    yield "from safetensors.torch import load_file"
    yield 'head = load_file("FOLDER/head.safetensors")'
    yield f"# vectors: {_POOLING[facts.card.backbone.pooling]}"
    yield 'logits = vectors @ head["weight"].T + head["bias"]'


def _cost(facts: ModelCard) -> Iterator[str]:
    yield "## Time and memory"
    yield ""
    found = facts.measurement
    if found is None:
        yield "Not measured."
        return
    yield f"A forward pass on {found.device}, {found.threads} threads, torch {found.torch}; medians."
    yield f"The adapter's tensors take {thousands(found.adapter_bytes)} bytes."
    if facts.form == "peft":
        yield "Measured with slasearch's own modules, which compute what PEFT's do."
    if facts.form == "merged":
        yield "Measured before merging: merged as it is here, the backbone is as fast as without an adapter."
    yield ""
    columns = ["task", "texts", "tokens", "without, ms", "with, ms", "peak without, bytes", "peak with, bytes"]
    yield from markdown_table(columns, map(_timing, found.timings))


def _timing(timing: Timing) -> list[str]:
    peaks = ["not known" if peak is None else thousands(peak) for peak in (timing.plain_peak, timing.adapted_peak)]
    times = [f"{timing.plain_ms:.2f}", f"{timing.adapted_ms:.2f}"]
    return [timing.task, str(timing.texts), str(timing.tokens), *times, *peaks]


def _backbone(facts: ModelCard) -> Iterator[str]:
    card = facts.card.backbone
    yield "## Backbone"
    yield ""
    rows = [
        ["id", f"`{card.id}`"],
        ["family", f"{card.family}, {card.layers} layers, hidden size {card.hidden}"],
        ["precision", card.precision],
        ["pooling of tokens", card.pooling],
        ["fingerprint of its weights", f"`{card.fingerprint}`"],
        ["licence", facts.origin.backbone.licence],
    ]
    yield from markdown_table(["what", "value"], rows)
    yield ""
    yield f"Trained with slasearch {facts.card.slasearch_version}, exported with {__version__}."
