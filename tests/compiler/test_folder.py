"""A checkpoint folder is plain `transformers`, and what is saved is what is loaded."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from statespan.compiler.folder import build_model, load_model, read_alphabet, write_folder
from statespan.compiler.quiet import quiet_transformers
from statespan.compiler.tokenizer import build_tokenizer, special_tokens
from statespan.errors import InputError, StorageError, SymbolError
from statespan.languages import language
from statespan.languages.symbols import read_word
from statespan.training import Vocabulary

CONFIG: dict[str, Any] = {
    "model_type": "mamba",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "state_size": 1,
    "conv_kernel": 2,
    "expand": 2,
    "time_step_rank": 2,
    "tie_word_embeddings": False,
}

LOAD_ALONE = """
import sys, torch
torch.set_num_threads(1)
from transformers import AutoModelForCausalLM, AutoTokenizer
from safetensors.torch import save_file
for folder, copy in zip(sys.argv[1::2], sys.argv[2::2]):
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("abba", return_tensors="pt").input_ids
    with torch.inference_mode():
        save_file({"logits": model(ids).logits, "ids": ids, **model.state_dict()}, copy)
"""


def config_for(alphabet: tuple[str, ...]) -> dict[str, Any]:
    return {**CONFIG, "vocab_size": Vocabulary(alphabet).size}


def random_tensors(config: dict[str, Any], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    from transformers import MambaConfig, MambaForCausalLM

    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = MambaForCausalLM(MambaConfig(**config)).state_dict()
    return {
        name: torch.randn(value.shape, generator=generator).to(dtype)
        for name, value in shapes.items()
    }


def write(path: Path, alphabet: tuple[str, ...] = ("a", "b"), **changes: Any) -> dict[str, Tensor]:
    config = config_for(alphabet)
    tensors = random_tensors(config, changes.pop("dtype", torch.float32))
    arguments: dict[str, Any] = {"card": "# A card\n", "files": {}, **changes}
    write_folder(path, config, tensors, alphabet, **arguments)
    return tensors


def test_what_is_saved_has_the_same_bits_in_a_new_process(tmp_path: Path) -> None:
    saved = {}
    arguments = []
    for dtype in (torch.float32, torch.bfloat16):
        folder, copy = tmp_path / f"{dtype}", tmp_path / f"{dtype}.safetensors"
        saved[folder, copy] = write(folder, dtype=dtype)
        arguments += [folder, copy]
    subprocess.run([sys.executable, "-c", LOAD_ALONE, *arguments], check=True)
    for (folder, copy), tensors in saved.items():
        check_copy(folder, load_file(copy), tensors)


def check_copy(folder: Path, found: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    logits, ids = found.pop("logits"), found.pop("ids")
    assert ids.tolist() == [[0, 3, 4, 4, 3]]
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name
    dtype = str(value.dtype).removeprefix("torch.")
    built = build_model(config_for(("a", "b")), tensors, dtype)
    with torch.inference_mode():
        for model in (load_model(folder), built):
            assert not model.training
            assert model.dtype == value.dtype
            torch.testing.assert_close(model(ids).logits, logits)


def test_the_folder_has_the_files_of_a_checkpoint(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b", files={"report.json": {"languages": ("x",), "margin": 64.0}})
    folder = tmp_path / "a" / "b"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "report.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    config = json.loads((folder / "config.json").read_text())
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    assert config.items() >= {**ids, "dtype": "float32", "model_type": "mamba"}.items()
    assert config["architectures"] == ["MambaForCausalLM"]
    assert json.loads((folder / "generation_config.json").read_text()).items() >= ids.items()
    assert (folder / "README.md").read_text() == "# A card\n"
    assert json.loads((folder / "report.json").read_text()) == {"languages": ["x"], "margin": 64.0}
    assert read_alphabet(folder) == ("a", "b")


def test_an_infinite_setting_survives(tmp_path: Path) -> None:
    from transformers import AutoConfig, Mamba2Config, Mamba2ForCausalLM

    config = {
        "model_type": "mamba2",
        "vocab_size": 5,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_heads": 4,
        "head_dim": 4,
        "state_size": 4,
        "n_groups": 1,
        "expand": 2,
        "time_step_limit": (0.0, float("inf")),
        "tie_word_embeddings": False,
    }
    with torch.device("meta"):
        shapes = Mamba2ForCausalLM(Mamba2Config(**config)).state_dict()
    tensors = {name: torch.zeros(value.shape) for name, value in shapes.items()}
    write_folder(tmp_path, config, tensors, ("a", "b"), card="", files={})
    assert tuple(AutoConfig.from_pretrained(tmp_path).time_step_limit) == (0.0, float("inf"))
    load_model(tmp_path)


def test_transformers_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    tensors = write(tmp_path)
    with caplog.at_level(logging.INFO), quiet_transformers():
        load_model(tmp_path)(torch.tensor([[0, 3]]))
        build_model(config_for(("a", "b")), tensors, "float32")(torch.tensor([[0, 3]]))
    assert capfd.readouterr() == ("", "")


def test_progress_bars_come_back() -> None:
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.is_progress_bar_enabled()
    with quiet_transformers():
        assert not transformers_logging.is_progress_bar_enabled()
    assert transformers_logging.is_progress_bar_enabled() == before
    assert not logging.getLogger("transformers.integrations.hub_kernels").filters


def test_a_built_model_shares_no_memory_with_its_tensors() -> None:
    config = config_for(("a", "b"))
    tensors = random_tensors(config)
    model = build_model(config, tensors, "float32")
    before = tensors["lm_head.weight"].clone()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    assert torch.equal(tensors["lm_head.weight"], before)


# --- the tokenizer


def load_tokenizer(folder: Path, alphabet: tuple[str, ...]) -> Any:
    from transformers import AutoTokenizer

    write(folder, alphabet)
    return AutoTokenizer.from_pretrained(folder)


def test_tokens_are_spelled_as_the_symbols(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tmp_path, ("a", "b"))
    assert tokenizer.convert_ids_to_tokens(range(5)) == ["<s>", "</s>", "<pad>", "a", "b"]
    assert len(tokenizer) == 5
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1, 2)
    assert tokenizer("abab").input_ids == [0, 3, 4, 3, 4]
    assert tokenizer("").input_ids == [0]
    assert tokenizer.decode([0, 3, 4, 1, 2], skip_special_tokens=True) == "ab"
    assert tokenizer(["ab", "a"], padding=True).input_ids == [[0, 3, 4], [0, 3, 2]]


@pytest.mark.parametrize("text", ["abc", "a b", "a\n", "A"])
def test_an_unknown_character_is_refused(tmp_path: Path, text: str) -> None:
    tokenizer = load_tokenizer(tmp_path, ("a", "b"))
    with pytest.raises(Exception, match="WordLevel error"):
        tokenizer(text)


def test_symbols_of_several_characters(tmp_path: Path) -> None:
    alphabet = ("(1 2)", "(1 2 3)", "()", "~", "~~", "[", "é")
    tokenizer = load_tokenizer(tmp_path, alphabet)
    for text in ("(1 2)(1 2 3)()~~~[é", " (1 2) (1 2 3)\n() ~~ ~ [ é "):
        assert tokenizer(text).input_ids == Vocabulary(alphabet).encode(read_word(text, alphabet))
    assert tokenizer.decode([3, 6, 8], skip_special_tokens=True) == "(1 2) ~ ["
    with pytest.raises(Exception, match="WordLevel error"):
        tokenizer("(1 2)(1 4)")


@pytest.mark.parametrize("name", ["word-problem", "bounded-dyck", "shuffle-6", "boolean-5"])
def test_catalogue_alphabets(name: str) -> None:
    alphabet = language(name).alphabet
    tokenizer = build_tokenizer(alphabet)
    ids = Vocabulary(alphabet).encode(alphabet)
    for text in ("".join(alphabet), tokenizer.decode(ids)):
        assert tokenizer.encode(text).ids == ids


SYMBOLS = st.text("ab <>/s|^$.*\\[]()~é✓\n\t-&#", min_size=1, max_size=4)


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(st.lists(SYMBOLS, min_size=1, max_size=6, unique=True), st.data())
def test_any_alphabet_reads_as_read_word(symbols: list[str], data: st.DataObject) -> None:
    alphabet = tuple(symbols)
    assert not set(special_tokens(alphabet)) & set(alphabet)
    tokenizer = build_tokenizer(alphabet)
    text = "".join(data.draw(st.lists(st.sampled_from((*alphabet, " ")), max_size=8)))
    try:
        expected = Vocabulary(alphabet).encode(read_word(text, alphabet))
    except (SymbolError, KeyError):
        with pytest.raises(Exception, match="WordLevel error"):
            tokenizer.encode(text)
    else:
        assert tokenizer.encode(text).ids == expected


@given(st.lists(st.characters(codec="utf-8"), min_size=1, max_size=6, unique=True), st.data())
def test_any_word_of_characters_comes_back(symbols: list[str], data: st.DataObject) -> None:
    alphabet = tuple(symbols)
    tokenizer = build_tokenizer(alphabet)
    word = "".join(data.draw(st.lists(st.sampled_from(alphabet), max_size=8)))
    assert tokenizer.decode(tokenizer.encode(word).ids) == word


@pytest.mark.parametrize(
    ("alphabet", "special"),
    [
        (("a", "<s>"), ("<|s|>", "</s>", "<pad>")),
        (("<", "s", ">", "|"), ("<!s!>", "</s>", "<pad>")),
        (("p", "a", "d", "<", ">"), ("<s>", "</s>", "<|pad|>")),
    ],
)
def test_special_tokens_give_way_to_symbols(
    alphabet: tuple[str, ...], special: tuple[str, str, str], tmp_path: Path
) -> None:
    assert special_tokens(alphabet) == special
    tokenizer = load_tokenizer(tmp_path, alphabet)
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == list(special)
    ids = Vocabulary(alphabet).encode(alphabet)
    assert tokenizer("".join(alphabet)).input_ids == ids


def test_a_symbol_that_is_no_text_is_refused() -> None:
    with pytest.raises(SymbolError, match="UTF-8"):
        build_tokenizer(("\ud800", "a"))


# --- bad folders


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="it is a file"):
        write(tmp_path / "file")
    with pytest.raises(StorageError, match="cannot write a checkpoint to"):
        write(tmp_path / "file" / "below")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InputError, match="is not empty and holds no compiled checkpoint"):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_checkpoint_replaces_another_whole(tmp_path: Path) -> None:
    write(tmp_path, files={"certificate.json": {"states": 3}})
    (tmp_path / "notes.txt").write_text("mine")
    write(tmp_path, ("a", "b", "c"))
    names = {path.name for path in tmp_path.iterdir()}
    assert "certificate.json" not in names
    assert "notes.txt" in names
    assert read_alphabet(tmp_path) == ("a", "b", "c")
    load_model(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "../x.json", "a/b.json", "report.txt"])
def test_a_bad_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"ends in \.json"):
        write(tmp_path / "checkpoint", files={name: {}})
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_an_incomplete_folder_is_named(tmp_path: Path, missing: str) -> None:
    write(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(StorageError, match=f"{missing} is missing"):
        load_model(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    for read in (load_model, read_alphabet):
        with pytest.raises(StorageError, match="there is no folder"):
            read(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b'{"model_type": "nothing"}'),
        ("model.safetensors", b"half"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    write(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StorageError, match="cannot load the checkpoint"):
        load_model(tmp_path)


def test_another_architecture_is_told_apart(tmp_path: Path) -> None:
    write(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(
        StorageError, match=r"does not fit its config: missing: backbone\.layers\.2"
    ):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    with pytest.raises(StorageError, match=r"unexpected: backbone\.layers\.1"):
        load_model(tmp_path)


def test_tensors_must_fit_the_config() -> None:
    config = config_for(("a", "b"))
    tensors = random_tensors(config)
    with pytest.raises(InputError, match=r"missing: lm_head\.weight"):
        build_model(config, {n: t for n, t in tensors.items() if n != "lm_head.weight"}, "float32")
    with pytest.raises(InputError, match="unexpected: other"):
        build_model(config, {**tensors, "other": torch.zeros(1)}, "float32")
    with pytest.raises(InputError, match="do not fit"):
        build_model(config, {**tensors, "lm_head.weight": torch.zeros(2, 2)}, "float32")
    with pytest.raises(InputError, match="dtype must be"):
        build_model(config, tensors, "bfloat16")
    with pytest.raises(InputError, match="no language model"):
        build_model({**config, "model_type": "nothing"}, tensors, "float32")


def test_the_vocabulary_must_fit_the_alphabet(tmp_path: Path) -> None:
    config = config_for(("a", "b"))
    with pytest.raises(InputError, match="must be 6 for 3 symbols, got 5"):
        write_folder(tmp_path, config, random_tensors(config), ("a", "b", "c"), card="", files={})
