"""Each kind of provider has its page, and what stands on it holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sealgate import config
from sealgate.cli import docs, provider_pages
from sealgate.providers.capabilities import CAPABILITIES, HINTS
from sealgate.providers.fates import DOCUMENTED
from sealgate.providers.table import KINDS
from sealgate.relay import catalog

SECTION = re.compile(r"^## (.+)\n\n((?:(?!## ).*\n)*)", re.MULTILINE)


def sections(name: str) -> dict[str, str]:
    return dict(SECTION.findall(provider_pages.page(KINDS[name])))


@pytest.mark.parametrize("name", KINDS)
def test_the_configuration_on_the_page_loads(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    if kind.extra is not None:
        pytest.importorskip(kind.extra[1])
    [block] = re.findall(r"```toml\n(.*?)```", provider_pages.page(kind), re.DOTALL)
    file = tmp_path / "sealgate.toml"
    file.write_text(block)
    settings = config.load(file, dict.fromkeys(re.findall(r"env::(\w+)", block), "a-key"))
    built = catalog.build(settings)
    [account] = built.accounts.values()
    assert account.kind.name == name
    assert "{" not in account.base_url
    [route] = built.models["my-model"].routes
    assert account.kind.host.url(account, route.upstream_model, stream=True).startswith(account.base_url)


@pytest.mark.parametrize("name", KINDS)
def test_the_page_tells_all_that_the_row_says(name: str) -> None:
    kind, found = KINDS[name], sections(name)
    how = dict(re.findall(r"^\| `(\w+)` \| .* \| (native|emulated, without loss|refused) \|$", found["What it can do"],
                          re.MULTILINE))  # fmt: skip
    assert {each for each, said in how.items() if said == "native"} == kind.capabilities
    assert {each for each, said in how.items() if said != "refused"} == kind.abilities
    assert how.keys() == CAPABILITIES.keys()
    assert all(f"| `{each}` | {change.action} |" in found["What becomes of parameters"]
               for each, change in kind.params.items())  # fmt: skip
    assert all(f"`{each}`" in found["What becomes of parameters"] for each in (*HINTS, *DOCUMENTED))
    assert all(f"| `{each}` |" in found["Settings"] for each in kind.reads)
    assert all(f"`{each}`" in found["Configure it"] for each in kind.key_variables)
    assert all(f"`{each}`" in found["Reasoning in tool loops"] for each in kind.replays)
    assert ("Reasoning in tool loops" in found) == bool(kind.replays)
    assert kind.source in found["Source"]
    assert ("## Variants" in provider_pages.page(kind)) == bool(kind.variants or kind.elsewhere)


def test_the_reference_leads_to_each_page() -> None:
    page = docs.pages()[docs.FOLDER / "providers.md"]
    assert all(f"(../providers/{name}.md)" in page for name in KINDS)
    assert provider_pages.pages().keys() <= docs.pages().keys()


def test_the_page_of_a_kind_that_is_gone_is_noticed_and_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(docs, "pages", provider_pages.pages)
    assert docs.main([]) == 0
    stray = provider_pages.FOLDER / "gone.md"
    stray.write_text("# Gone\n")
    assert docs.main(["--check"]) == 1
    assert str(stray) in capsys.readouterr().err
    assert docs.main([]) == 0
    assert not stray.exists()
    assert docs.main(["--check"]) == 0
