"""What is kept on disk: the same results with it and without, whatever happens to the files."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import igrt
from igrt import cache as cache_module
from igrt.cache import Cache, Entry, key_of, open_cache, user_folder
from igrt.errors import InputError, ModelLoadError, NoGradientPath, UnsupportedOperator
from igrt.explainer import Explainer

MODELS = Path(__file__).parents[1] / "models"
MLP = """<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 3] x) => (float[N, 2] y)
<float[3, 4] W = {1, -2, 3, 4, 5, -6, 7, 8, -9, 1, 2, 3},
 float[4, 2] V = {1, 2, -3, 4, 5, 6, 7, -8}>
{ h = MatMul(x, W)  t = Tanh(h)  y = MatMul(t, V) }"""
FIXED = MLP.replace("N,", "1,")
EMBEDDING = """<ir_version: 10, opset_import: ["" : 20]>
g (int64[N, 3] ids) => (float[N, 2] y)
<float[5, 2] E = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1}, int64[1] one = {1}>
{ e = Gather(E, ids)  s = Tanh(e)  y = ReduceSum <keepdims = 0> (s, one) }"""
BRANCHES = """<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 3] x, bool c) => (float[N, 3] y) {
    a = If (c) <
        then_branch = t () => (u) { u = Tanh(x) },
        else_branch = e () => (v) {
            k = Constant <value_ints = [0]> ()
            r = Relu(x)
            v = Unsqueeze(r, k)
        }
    >
    y = Mul(a, x) }"""
X = np.array([[0.3, -0.2, 0.9], [0.5, 0.1, -0.4]], np.float32)


def model(text):
    return parser.parse_model(text)


def same(a, b):
    """Every number of two results is the same to the last bit."""
    assert a.values.keys() == b.values.keys()
    for name in a.values:
        assert np.asarray(a.values[name]).tobytes() == np.asarray(b.values[name]).tobytes()
    for field in ("output", "baseline_output", "delta", "error", "evaluations"):
        assert np.asarray(getattr(a, field)).tobytes() == np.asarray(getattr(b, field)).tobytes()
    assert told(a.provenance) == told(b.provenance)


def told(provenance):
    """The provenance, with no more of the plan than the chunk: free memory changes by itself."""
    return provenance | {"plan": provenance["plan"]["chunk"]}


def entries(folder):
    return sorted(Path(folder).glob("*.entry"))


@pytest.fixture
def no_sweep(monkeypatch):
    """Fails whatever loads, normalises or differentiates a model."""

    def fail():
        def refuse(*_, **__):
            raise AssertionError("the model was made anew")

        for step in ("loaded", "normal", "explained", "gradients", "freed", "pruned"):
            monkeypatch.setattr(f"igrt.making.{step}", refuse)
        monkeypatch.setattr("igrt.stage.row_bytes", refuse)

    return fail


@pytest.mark.parametrize(
    ("text", "inputs", "options"),
    [
        (MLP, X, {}),
        (FIXED, X, {}),
        (MLP, X, {"method": "deeplift"}),
        (MLP, X, {"method": "gradients"}),
        (MLP, X, {"method": "expected_gradients", "baselines": 0.1 * X, "n_steps": 8}),
        (MLP, X, {"wrt": ["h"]}),
        (MLP, X, {"wrt": ["h"], "method": "conductance"}),
        (EMBEDDING, np.array([[0, 1, 4], [2, 2, 3]]), {}),
    ],
    ids=["plain", "fixed", "deeplift", "point", "sampled", "inner", "conductance", "tokens"],
)
def test_a_warm_run_gives_the_same_bits_and_makes_nothing(
    text, inputs, options, tmp_path, no_sweep
):
    explain = {"target": 1, **options}
    given = model(text)
    plain = igrt.explain(given, inputs, **explain)
    assert not entries(tmp_path)
    cold = igrt.explain(given, inputs, cache=tmp_path, **explain)
    kept = [(p, p.stat().st_size) for p in entries(tmp_path)]
    assert kept
    no_sweep()
    warm = igrt.explain(given, inputs, cache=tmp_path, **explain)
    same(plain, cold)
    same(plain, warm)
    assert [(p, p.stat().st_size) for p in entries(tmp_path)] == kept


def test_ranks_that_a_run_shows_are_kept(tmp_path, no_sweep):
    feeds = {"x": X, "c": np.array(True)}
    plain = igrt.explain(model(BRANCHES), feeds, target=0)
    igrt.explain(model(BRANCHES), feeds, target=0, cache=tmp_path)
    no_sweep()
    same(plain, igrt.explain(model(BRANCHES), feeds, target=0, cache=tmp_path))


def test_other_options_and_other_models_are_other_entries(tmp_path):
    """Each of them gives what it gives without a cache, after all the others were kept."""
    other = model(MLP)
    weights = numpy_helper.to_array(other.graph.initializer[0]).copy()
    weights[0, 0] += 1
    other.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "W"))
    cases = [
        (model(MLP), {}),
        (other, {}),
        (model(MLP), {"of": "t"}),
        (model(MLP), {"wrt": ["h"]}),
        (model(MLP), {"method": "lrp"}),
        (model(MLP), {"method": igrt.methods.LRP(epsilon=0.5)}),
    ]
    for given, options in cases:
        igrt.explain(given, X, target=1, cache=tmp_path, **options)
    for given, options in cases:
        plain = igrt.explain(given, X, target=1, **options)
        same(plain, igrt.explain(given, X, target=1, cache=tmp_path, **options))


def test_errors_are_the_same_and_nothing_is_kept_of_them(tmp_path):
    unsupported = MLP.replace("t = Tanh(h)", "t = com.example.Odd(h)").replace(
        '["" : 20]', '["" : 20, "com.example" : 1]'
    )
    cases = [
        (model(MLP), {"of": "nowhere"}, InputError),
        (model(MLP), {"wrt": "x"}, InputError),
        (model(MLP), {"wrt": ["nowhere"]}, InputError),
        (model(MLP.replace("Tanh", "Round")), {}, NoGradientPath),
        (model(unsupported), {}, UnsupportedOperator),
        (b"no model", {}, ModelLoadError),
        ("nowhere.onnx", {}, ModelLoadError),
    ]
    for given, options, kind in cases:
        said = []
        for cache in (False, tmp_path, tmp_path):
            with pytest.raises(kind) as caught:
                Explainer(given, cache=cache, **options)
            said.append(str(caught.value))
        assert len(set(said)) == 1, said
    igrt.explain(model(MLP), X, target=1, cache=tmp_path)
    for given, options, kind in cases[:3]:
        with pytest.raises(kind):
            Explainer(given, cache=tmp_path, **options)


@pytest.fixture
def external(tmp_path):
    """A model with its weights in a file of their own."""
    path = tmp_path / "net" / "net.onnx"
    path.parent.mkdir()
    given = model(MLP)
    for tensor in given.graph.initializer:  # only raw data goes into other files
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    onnx.save(given, path, save_as_external_data=True, location="net.data", size_threshold=0)
    return path


def test_external_weights_are_referred_to_and_watched(external, tmp_path):
    kept, data = tmp_path / "kept", external.with_name("net.data")
    plain = igrt.explain(external, X, target=1)
    for _ in range(2):
        same(plain, igrt.explain(external, X, target=1, cache=kept))
    weights = data.read_bytes()
    assert not any(weights[:48] in p.read_bytes() for p in entries(kept))
    # other weights in the same place
    data.write_bytes((2 * np.frombuffer(weights, np.float32)).tobytes())
    changed = igrt.explain(external, X, target=1)
    assert np.abs(changed.values["x"] - plain.values["x"]).max() > 0.1
    same(changed, igrt.explain(external, X, target=1, cache=kept))
    data.unlink()
    said = []
    for cache in (False, kept):
        with pytest.raises(ModelLoadError) as caught:
            igrt.explain(external, X, target=1, cache=cache)
        said.append(str(caught.value))
    assert said[0] == said[1]
    with pytest.raises(ModelLoadError, match="only a file can have"):
        Explainer(external.read_bytes(), cache=kept)


def test_damaged_entries_are_made_anew(tmp_path):
    plain = igrt.explain(model(MLP), X, target=1)
    igrt.explain(model(MLP), X, target=1, cache=tmp_path)
    whole = {p: p.read_bytes() for p in entries(tmp_path)}
    rng = random.Random(0)
    for round_ in range(6):
        for path, data in whole.items():
            cut = rng.randrange(len(data))
            damaged = [
                data[:cut],
                data[:cut] + bytes([data[cut] ^ (1 << rng.randrange(8))]) + data[cut + 1 :],
                data + b"\0",
            ][round_ % 3]
            path.write_bytes(damaged)
        same(plain, igrt.explain(model(MLP), X, target=1, cache=tmp_path))
        assert {p: p.read_bytes() for p in entries(tmp_path)} == whole


def test_a_change_of_code_or_packages_begins_anew(tmp_path, monkeypatch):
    source = tmp_path / "igrt"
    source.mkdir()
    (source / "rule.py").write_text("a = 1\n")
    monkeypatch.setattr(cache_module, "__file__", str(source / "cache.py"))
    found = [cache_module.version_key()]
    assert cache_module.version_key() == found[0]
    (source / "rule.py").write_text("a = 12\n")
    found.append(cache_module.version_key())
    (source / "more").mkdir()
    (source / "more" / "rule.py").write_text("")
    found.append(cache_module.version_key())
    for package in ("onnx", "onnxruntime"):
        fake = tmp_path / "fake" / package
        fake.mkdir(parents=True)
        for name in ("__init__.py", "version.py"):
            (fake / name).write_text('version = __version__ = "9.9"\n')
        monkeypatch.syspath_prepend(str(tmp_path / "fake"))
        with monkeypatch.context() as patch:
            for loaded in [m for m in sys.modules if m.split(".")[0] == package]:
                patch.delitem(sys.modules, loaded)
            found.append(cache_module.version_key())
    assert len(set(found)) == len(found)


def test_an_entry_of_another_version_is_not_read(tmp_path, monkeypatch):
    plain = igrt.explain(model(MLP), X, target=1, cache=tmp_path)
    before = entries(tmp_path)
    monkeypatch.setattr("igrt.derived.version_key", lambda: "another")
    same(plain, igrt.explain(model(MLP), X, target=1, cache=tmp_path))
    assert len(entries(tmp_path)) == 2 * len(before)


def test_a_folder_that_cannot_be_used_is_no_cache(tmp_path):
    """A file where the folder should be: not even the superuser can write there."""
    plain = igrt.explain(model(MLP), X, target=1)
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        same(plain, igrt.explain(model(MLP), X, target=1, cache=folder))


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere"
)
def test_a_read_only_folder_is_read(tmp_path, no_sweep):
    plain = igrt.explain(model(MLP), X, target=1, cache=tmp_path)
    tmp_path.chmod(0o500)
    no_sweep()
    same(plain, igrt.explain(model(MLP), X, target=1, cache=tmp_path))
    tmp_path.chmod(0o700)


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    plain = igrt.explain(model(MLP), X, target=1)
    same(plain, igrt.explain(model(MLP), X, target=1, cache=tmp_path))
    assert not list(tmp_path.iterdir())


def test_processes_share_a_folder(tmp_path):
    """Three at once, cold and warm, while entries vanish: all get the same bits."""
    given, kept = tmp_path / "net.onnx", tmp_path / "kept"
    onnx.save(model(MLP), given)
    code = (
        "import sys, hashlib, numpy as np, igrt\n"
        "x = np.array(eval(sys.argv[3]), np.float32)\n"
        "for _ in range(4):\n"
        "    r = igrt.explain(sys.argv[1], x, target=1, cache=sys.argv[2])\n"
        "    print(hashlib.sha256(r.values['x'].tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(given), str(kept), repr(X.tolist())]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    while any(p.poll() is None for p in running):
        for path in entries(kept)[:1]:
            path.unlink(missing_ok=True)
        time.sleep(0.01)
    said = [p.communicate() for p in running]
    assert all(p.returncode == 0 for p in running), said
    assert len({line for out, _ in said for line in out.split()}) == 1
    assert all(p.suffix == ".entry" for p in kept.iterdir())


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    kept = Cache(tmp_path, most=4000)
    for k in range(3):
        kept.write(f"entry{k}", Entry({}, bytes(1000)))
        os.utime(tmp_path / f"entry{k}.entry", (k, k))
    assert kept.read("entry0") is not None  # used now
    kept.write("entry3", Entry({}, bytes(1000)))
    assert sorted(p.stem for p in entries(tmp_path)) == ["entry0", "entry2", "entry3"]
    kept.write("large", Entry({}, bytes(5000)))
    assert kept.read("large") is None
    assert len(entries(tmp_path)) == 3


def test_files_of_processes_that_were_killed_go(tmp_path):
    kept = Cache(tmp_path)
    for name, age in ((".old", 7200), (".young", 60)):
        (tmp_path / name).write_text("half")
        then = time.time() - age
        os.utime(tmp_path / name, (then, then))
    kept.write("entry", Entry({"a": 1}))
    assert sorted(p.name for p in tmp_path.iterdir()) == [".young", "entry.entry"]


@pytest.mark.parametrize("facts", [{}, {"a": [1, None, "é\n", {"b": 0.1}]}])
@pytest.mark.parametrize("data", [b"", b"\0\xff" * 500])
def test_an_entry_comes_back_as_it_was(facts, data, tmp_path):
    kept = Cache(tmp_path)
    kept.write("key", Entry(facts, data))
    assert kept.read("key") == Entry(facts, data)
    assert kept.read("other") is None


def test_keys_tell_values_apart():
    values = [[], [1], ["1"], [[1]], {"a": 1}, {"a": 2}, None, "None", ["a", "b"], ["ab"], [True]]
    assert len({key_of(v) for v in values}) == len(values)
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})


def test_where_each_platform_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("IGRT_CACHE_DIR", str(tmp_path / "chosen"))
    assert user_folder() == tmp_path / "chosen"
    monkeypatch.delenv("IGRT_CACHE_DIR")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    found = {}
    for platform in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        found[platform] = user_folder().relative_to(tmp_path).as_posix()
    assert found == {
        "linux": "xdg/igrt",
        "darwin": "Library/Caches/igrt",
        "win32": "local/igrt/cache",
    }
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert user_folder() == tmp_path / ".cache" / "igrt"

    def homeless():
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    assert user_folder() is None
    assert open_cache(True) is None
    same(igrt.explain(model(MLP), X, target=1), igrt.explain(model(MLP), X, target=1, cache=True))


@pytest.mark.parametrize("choice", [None, 1, "", 2.5])
def test_other_choices_are_refused(choice):
    with pytest.raises(InputError, match="cache must be True, False or a folder"):
        Explainer(model(MLP), cache=choice)


def test_a_warm_command_loads_neither_onnx_nor_numba(tmp_path):
    """And writes the same numbers as one without the cache."""
    shipped = MODELS / "digits_cnn"
    if not shipped.is_dir():
        pytest.skip("the shipped models are not here")
    code = (
        "import sys\nfrom igrt.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert end.code == 0, end.code\n"
        "print(sorted({'numba', 'onnx', 'google'} & set(sys.modules)), file=sys.stderr)"
    )
    arguments = [
        *("explain", str(shipped / "digits_cnn.onnx"), "--json", "--input"),
        *(str(shipped / "inputs" / "3.png"), "--preprocess", str(shipped / "preprocess.toml")),
        *("-o", str(tmp_path / "x.png")),
    ]
    environment = {**os.environ, "IGRT_CACHE_DIR": str(tmp_path / "kept")}
    found, loaded = [], []
    for more in (["--no-cache"], [], []):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments, *more],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        document = json.loads(done.stdout)
        found.append(document | {"seconds": 0, "provenance": told(document["provenance"])})
        loaded.append(done.stderr.strip())
        assert (tmp_path / "kept").exists() == (len(found) > 1)
    assert found[0] == found[1] == found[2]
    assert loaded == ["['google', 'onnx']", "['google', 'onnx']", "[]"]
