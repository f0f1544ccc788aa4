"""`Explainer` and `explain`: a model, an input, and what made the output what it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from numbers import Real
from typing import Any, Literal, final

import numpy as np

import igrt
from igrt import baselines as baseline_values
from igrt import methods, targets
from igrt.apart import agree, rows_apart
from igrt.attribution import Attribution
from igrt.baselines import Background, Baseline, of_any_example
from igrt.cache import CacheLike
from igrt.derived import Derived, derived
from igrt.engine import Engine, GradientGraph, open_engine
from igrt.errors import GaveUp, IgrtError, InputError, NonFiniteError
from igrt.feeds import example_feeds
from igrt.kernels import select
from igrt.methods import Method
from igrt.placed import Ends, Placed, probes
from igrt.precision import Rounding, check, ranging
from igrt.quadrature import InnerScheme, Sampling, Scheme, constant_scheme
from igrt.rows import Batching, NotRows, batching
from igrt.runtime import cuda, inside, sample, stream
from igrt.runtime.lane import LaneMaker, Output
from igrt.runtime.paths import Integrals, Paths
from igrt.runtime.plan import Keeping, Plan, require_positive
from igrt.runtime.points import Points
from igrt.runtime.providers import Cuda
from igrt.runtime.session import Arena, OrtSession, Session
from igrt.runtime.watch import Progress, Watch
from igrt.source import ModelLike, read
from igrt.specs import STRAIGHT_THROUGH, Array, Display, Feeds, TensorSpec
from igrt.targets import Target

_CUDA = Cuda()


@final
class Explainer:
    """Explains one output of one model; loads it once and may be used from several threads.

    Args:
        model: Path, bytes or onnx.ModelProto.
        of: Name of the tensor to explain; the first float output by default.
        wrt: Names of the tensors attributed, inputs or any intermediate ones. By default all float
            inputs and, for an input of token numbers or texts, the rows that it looks up in an
            embedding. For an intermediate tensor the path runs in its space.
        provider: ``auto`` (CUDA where it works, else CPU), ``cpu``, ``cuda``, or a name of
            onnxruntime's. Anything but ``auto`` is an error where it does not work.
        memory: Bytes that an explanation may take beside the loaded model; half of what is free by
            default.
        threads: Threads within one operator; None leaves it to onnxruntime.
        quantised: What becomes of a quantised model. ``straight_through`` keeps its rounding, and
            gradients pass it where a value is inside the range; ``dequantise`` takes it out.
        precision: Of the gradients: ``float32``, ``tf32`` (on CUDA: products of matrices with 10
            bits of mantissa) or ``fp16`` (these and what lies between in float16). What is below
            float32 is compared with it on every path, and the difference is part of the error.
        cache: Whether the graphs made of the model are kept on disk for the next process: True
            for the user's cache folder, or a folder. The results are the same.

    Raises:
        ModelLoadError: If the model cannot be read.
        InputError: If `of` or `wrt` name no float tensor, or an option is not usable.
        UnsupportedOperator: If operators on the way have no gradient rule; all are named.
        NoGradientPath: If the gradient would be zero by construction.
    """

    _staging = True  # what tests and benchmarks compare with when it is not so

    def __init__(
        self,
        model: ModelLike,
        *,
        of: str | None = None,
        wrt: Sequence[str] | None = None,
        provider: str = "auto",
        memory: int | None = None,
        threads: int | None = None,
        quantised: str = STRAIGHT_THROUGH,
        precision: str = "float32",
        cache: CacheLike = False,
    ) -> None:
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise InputError(
                f"threads must be a positive whole number, not {threads!r}",
                hint="leave it out to have it chosen",
            )
        require_positive("memory", memory)
        check(precision, provider)
        self._precision = precision
        self._given = read(model)
        self._provider, self._memory, self._threads = provider, memory, threads
        self._loaded = derived(self._given, cache)
        self._normal = self._loaded.then("normal", quantised=quantised)
        self._part = self._normal.then("explained", of=of, wrt=_names(wrt))
        known = self._part.facts
        self.of: TensorSpec = _spec(known["of"])
        """Spec of the explained output."""
        self.wrt: tuple[TensorSpec, ...] = tuple(_spec(s) for s in known["wrt"])
        """Specs of the attributed tensors."""
        self.inputs: tuple[TensorSpec, ...] = tuple(_spec(s) for s in known["inputs"])
        """Specs of the model's inputs."""
        self._inner: list[str] = known["inner"]
        self._cut: list[str] = known["cut"]
        self._quantised = quantised if self._loaded.facts["quantised"] else None
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._lanes: dict[Session, LaneMaker] = {}
        self._on_cuda: dict[str, Any] = {}
        self._layout: Batching | None = None
        self._prologue: Session | None = None
        self._inside: Engine | None = None
        self._sequence: bool | None = None

    @property
    def _batching(self) -> Batching:
        """Which inputs have a batch axis: those attributed must, else no row can be told apart."""
        inputs = self.inputs
        fed = {s.name for s in inputs}
        attributed = fed.intersection(s.name for s in self.wrt)
        floats = {s.name for s in inputs if s.is_float}
        return batching(inputs, frozenset(attributed or floats or fed))

    def _layout_of(self, inputs: Feeds | Any) -> Batching:
        """The batching for some inputs: an only axis may be a batch of numbers, or a sequence."""
        layout = self._batching
        if {s.rank for s in self.inputs if s.name in layout.inputs} != {1}:
            return layout
        if self._sequence is None:
            self._sequence = not self._apart(inputs, layout)
        return Batching(frozenset(), fixed=False) if self._sequence else layout

    def _apart(self, inputs: Feeds | Any, layout: Batching) -> bool:
        """Whether two elements along the only axis of the inputs give what each gives alone."""
        try:
            feeds, _ = example_feeds(self.inputs, inputs, layout)
        except InputError:  # one axis more, for instance: examples of sequences
            return False
        part = self._normal.then("pruned", outputs=[self.of.name], keep_inputs=False)
        pair = {}
        for spec in map(_spec, part.facts["fed"]):
            a = feeds[spec.name]
            last = (0.5 * a[-1:]).astype(a.dtype) if spec.is_float else a[-1:]
            pair[spec.name] = np.concatenate([a[:1], last]) if spec.name in layout.inputs else a[0]
        session = self._session(part)
        try:
            alone = [
                session.run(
                    [self.of.name],
                    {n: a[k : k + 1] if n in layout.inputs else a for n, a in pair.items()},
                )[0]
                for k in range(2)
            ]
            together = session.run([self.of.name], pair)[0]
        except GaveUp:
            raise
        except IgrtError:  # too short for one of its operators
            return False
        return all(a.ndim for a in alone) and agree(together, np.concatenate(alone))

    def batching_of(self, inputs: Feeds | Any) -> str:
        """How rows go into the model, in words: found by running the first row of some inputs."""
        with suppress(NonFiniteError):  # from made-up inputs; how rows go in is known by then
            return self._placed(inputs, None).engine.note
        return "" if self._engine is None else self._engine.note

    def staging_of(self, inputs: Feeds | Any) -> dict[str, str]:
        """What would run only at the ends of paths of some inputs, or on sums over them, in words.

        Returns:
            For ``adaptive`` rules, which need the gradient at every point, and for ``fixed`` ones,
            which need sums only.
        """
        placed = self._placed(inputs, None)
        ends, engine = placed.ends, placed.engine
        paths = Paths(
            inputs=ends.inputs,
            baselines=ends.baselines,
            example=np.arange(1),
            baseline=np.arange(1),
            cotangents=np.zeros_like(placed.outputs[:1]),
            others=ends.others,
            shared=ends.shared,
            batched=engine.batched,
            output_batched=engine.output_batched,
            change=np.zeros(1),
            references=engine.lean.references,
        )
        if engine.lean.constant:
            note = "nothing to stage: the gradient is the same at all points"
            return {"adaptive": note, "fixed": note}
        found = {"adaptive": False, "fixed": True}
        return {n: engine.staging(paths, sums=sums).note for n, sums in found.items()}

    def explain(
        self,
        inputs: Feeds | Any,
        *,
        baselines: Baseline | Sequence[Baseline] = None,
        target: Target = None,
        method: str | Method = "integrated_gradients",
        n_steps: int | None = None,
        rule: str | None = None,
        tolerance: float = 1e-2,
        internal_batch_size: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        deadline: float | None = None,
        cancel: threading.Event | None = None,
        display: Display | None = None,
    ) -> Attribution:
        """Attribute the target's score to the inputs.

        Args:
            inputs: Arrays by input name; a bare array will do for a one-input model. With or
                without a batch axis.
            baselines: Where the path begins: None (zeros), a number, an array, a text such as
                ``"blur:4"``, a mapping from names to these, or a list of these to average over.
                For ``expected_gradients`` an array has one baseline in each row.
            target: What is explained: None (the only or highest element), a class index,
                ``"topK"``, a tuple of indices, or a list with one of these per example.
            method: A name, or a method object with its own options: ``integrated_gradients``,
                ``expected_gradients``, or of inner tensors ``conductance internal_influence``.
            n_steps: Exactly so many gradient evaluations, or draws; None stops at the tolerance.
            rule: Quadrature rule for a fixed number of steps, ``gauss_legendre`` by default; also
                ``gauss_kronrod midpoint trapezoid simpson left right`` and Captum's names.
            tolerance: Relative L1 error of the attribution to stop at.
            internal_batch_size: Rows per run, at most; by default the fastest number that `memory`
                allows.
            seed: Seed of methods that draw at random; recorded in the result.
            progress: Called with the evaluations done and planned, after every run.
            deadline: Seconds after which to give up, within one operator of the model.
            cancel: Set it from another thread to give up likewise.
            display: Labels, names and pictures to show beside the numbers.

        Raises:
            InputError: If an argument or an array is not usable.
            NonFiniteError: If an output or a gradient is NaN or infinite.
            DeadlineExceeded: If the deadline passed.
            Cancelled: If `cancel` was set.
        """
        if deadline is not None and not (isinstance(deadline, Real) and deadline > 0):
            raise InputError(
                f"deadline must be a positive number of seconds, not {deadline!r}",
                hint="leave it out to take as long as it takes",
            )
        if cancel is not None and not isinstance(cancel, threading.Event):
            raise InputError(
                f"cancel must be a threading.Event, not {cancel!r}", hint="set() it to give up"
            )
        end = None if deadline is None else time.monotonic() + deadline
        with Watch(progress=progress, deadline=end, cancel=cancel) as watch:
            return self._explain(
                inputs,
                baselines,
                target,
                methods.named(method),
                n_steps,
                rule,
                tolerance,
                internal_batch_size,
                seed,
                display or Display(),
                watch,
            )

    def _explain(
        self,
        inputs: Feeds | Any,
        baselines: Baseline | Sequence[Baseline],
        target: Target,
        chosen: Method,
        n_steps: int | None,
        rule: str | None,
        tolerance: float,
        internal_batch_size: int | None,
        seed: int,
        display: Display,
        watch: Watch,
    ) -> Attribution:
        start = time.monotonic()
        scheme = _scheme(chosen, rule, n_steps, tolerance, seed)
        if isinstance(scheme, Sampling):
            baselines = Background(baselines)
        inner = isinstance(scheme, InnerScheme)
        placed = (
            self._placed_inside(inputs, baselines) if inner else self._placed(inputs, baselines)
        )
        layout, ends, outputs = placed.layout, placed.ends, placed.outputs
        engine = placed.engine.under(chosen.sweep)
        if isinstance(scheme, Scheme) and scheme.tolerance is not None:
            scheme = _informed(scheme, engine, ends)
        picked = targets.resolve(target, outputs)
        example, rows = picked.example, len(picked.example)
        sets, pool = ends.sets, ends.pool
        b_outputs = placed.engine.forward(
            ends.baselines, ends.others, ends.shared, ends.owner, "baselines"
        )
        output = picked.pick(outputs[example])
        of_row = [picked.pick(b_outputs[pool[example, k]]) for k in range(sets)]
        baseline_output = np.mean(of_row, axis=0)
        starts, begin = ends.baselines, pool[example]
        if chosen.factor != "difference":  # the same for every baseline; x - 0 is the factor x
            starts, begin = {n: np.zeros_like(x) for n, x in ends.inputs.items()}, example[:, None]
            sets = 1

        if isinstance(scheme, Sampling):  # each row is one path, from any of its baselines
            sets = 1
        paths = Paths(
            inputs=ends.inputs,
            baselines=starts,
            example=np.tile(example, sets),
            baseline=begin[:, :sets].T.reshape(-1),
            cotangents=np.tile(
                picked.cotangents(outputs.shape[1:], engine.lean.dtype),
                (sets, *(1,) * (outputs.ndim - 1)),
            ),
            others=ends.others,
            shared=ends.shared,
            batched=engine.batched,
            output_batched=engine.output_batched,
            change=np.concatenate([output - b for b in of_row[:sets]]).astype(np.float64),
            references=engine.lean.references,
            times_difference=chosen.factor != "one",
        )
        keeping = _keeping(scheme, placed.shown, len(paths))
        planned = engine.plan(paths, keeping, self._memory, internal_batch_size)
        run = {"cotangent": engine.lean.cotangent, "chunk": planned.chunk, "watch": watch}
        with ranging(self._precision), engine.locating():
            found = self._in_parts(engine, paths, ends.owner, scheme, run, planned)
            staged = found is not None
            if found is None:
                found = self._integrals(
                    engine, paths, begin, scheme, placed.shown, run, planned.keep_bytes
                )
            found, rounding = self._with_rounding(engine, paths, found, placed.shown, run)
        values, error, evaluations = _averaged(found, sets, rows)
        total = sum(v.reshape(rows, -1).sum(axis=1) for v in values.values())
        if (
            isinstance(scheme, InnerScheme) and not scheme.changes
        ):  # slopes, which sum to nothing in particular
            total = np.full(rows, np.nan)
        keep = layout.batched and not (placed.bare and rows == 1)
        return Attribution(
            values=values if keep else {n: v[0] for n, v in values.items()},
            target=picked.index,
            output=output,
            baseline_output=baseline_output,
            delta=total - (output - baseline_output),
            error=error,
            evaluations=evaluations,
            rule=scheme.name,
            method=chosen.name,
            provider=engine.gradient.provider,
            seconds=time.monotonic() - start,
            provenance=self._provenance(
                seed=seed,
                n_steps=n_steps,
                tolerance=tolerance,
                baselines=_described(baselines),
                chunk=found.chunk,
                plan=planned.facts(),
                batching=engine.note,
                staged=engine.staging(paths, sums=scheme.tolerance is None).note if staged else "",
                **rounding,
                **({"cuda": self._on_cuda} if self._on_cuda else {}),
            ),
            example=example,
            inputs={n: x[example] if keep else x[0] for n, x in placed.shown.items()},
            scores=outputs[example],
            tolerance=scheme.tolerance,
            batched=keep,
            display=display,
        )

    def _in_parts(
        self,
        engine: Engine,
        paths: Paths,
        owner: Array,
        scheme: Scheme | Sampling | InnerScheme,
        run: dict[str, Any],
        planned: Plan,
    ) -> Integrals | None:
        """The same with the gradient graph in parts, where that serves."""
        if not isinstance(scheme, Scheme) or not self._staging or self._precision != "float32":
            return None
        return engine.integrals(paths, owner, scheme, select("auto"), run, planned)

    def _integrals(
        self,
        engine: Engine,
        paths: Paths,
        pool: Array,
        scheme: Scheme | Sampling | InnerScheme,
        shown: Feeds,
        run: dict[str, Any],
        keep_bytes: int,
    ) -> Integrals:
        """What the paths come to, by whatever the method asks for."""
        gradients, kernels = engine.lean.gradients, select("auto")
        names, outputs = list(gradients), _outputs(engine, shown)
        tensors = [replace(o, name=n) for n, o in zip(names, outputs, strict=True)]
        changes = isinstance(scheme, InnerScheme) and scheme.changes
        outputs += tensors if changes else []
        lanes = self._lanes.get(engine.gradient)
        points = Points(engine.gradient, kernels, paths, outputs, lanes=lanes, **run)
        if isinstance(scheme, Scheme):
            return stream.integrate(points, names, scheme, keep_bytes=keep_bytes)
        if isinstance(scheme, Sampling):
            return sample.sample(points, names, scheme, pool=pool, keep_bytes=keep_bytes)
        up_to = Points(self._up_to_inner(), kernels, paths, tensors, **run | {"cotangent": None})
        moving = {n for n in paths.inputs if n not in gradients}
        complete = not moving.intersection(self._part.facts["fed"])
        return inside.integrate_inside(
            points, up_to, names, scheme, complete=complete, keep_bytes=keep_bytes
        )

    def _with_rounding(
        self, engine: Engine, paths: Paths, found: Integrals, shown: Feeds, run: dict[str, Any]
    ) -> tuple[Integrals, dict[str, Any]]:
        """The integrals with what the precision costs, and what the provenance says of it."""
        if self._precision == "float32":
            return found, {}
        outputs = _outputs(engine, shown)
        rounded, exact = (
            Points(session, select("auto"), paths, outputs, **run)
            for session in (engine.gradient, engine.exact)
        )
        compared = Rounding(self._precision, rounded, exact, list(engine.lean.gradients))
        found, said = compared.added(found, paths)
        return found, {"precision": said}

    def _placed(self, inputs: Any, baselines: Any) -> Placed:
        """The inputs as rows of a batch, or all as one example, whichever the model runs with.

        An open axis in front may count something else than examples, such as the nodes of a graph.
        Then a row does not run alone, or the inputs differ in the number of rows, and they do run
        all together. What has run once decides for later calls.
        """
        layout, first = self._layout or self._layout_of(inputs), self._engine is None
        try:
            return self._place(inputs, baselines, layout)
        except NotRows as error:
            refusal = error.__cause__ or InputError(error.message, hint=error.hint)
        whole = Batching(frozenset(), fixed=False)
        if not first or layout.fixed:
            raise refusal from None
        try:
            placed = self._place(inputs, baselines, whole)
        except IgrtError as error:
            self._engine = None
            raise error if isinstance(error, GaveUp) else refusal from None
        self._layout = whole
        return placed

    def _place(self, inputs: Any, baselines: Any, layout: Batching) -> Placed:
        feeds, bare = example_feeds(self.inputs, inputs, layout)
        ends = self._ends(feeds, baselines, layout)
        engine = self._engine_for(ends, layout)
        rows = np.arange(ends.count)
        outputs = engine.forward(ends.inputs, ends.others, ends.shared, rows)
        return Placed(layout, bare, ends, engine, outputs, ends.inputs)

    def _placed_inside(self, inputs: Any, baselines: Any) -> Placed:
        """The same for paths of the inputs, while inner tensors are attributed."""
        if not self._inner or len(self._inner) < len(self.wrt):
            names = ", ".join(f"`{s.name}`" for s in self.wrt if s.name not in self._inner)
            raise InputError(
                f"conductance and internal influence are of inner tensors; {names} is an input",
                hint='name an inner tensor, wrt=["…"] or --wrt …',
            )
        layout = self._layout or self._layout_of(inputs)
        feeds, bare = example_feeds(self.inputs, inputs, layout)
        ends = self._outer_ends(feeds, baselines, layout)
        prologue, probe = self._up_to_inner(), probes(ends)
        with self._lock:
            if self._inside is None:
                part = self._normal.then("pruned", outputs=[self.of.name])
                wrt, shared = tuple(self._inner), ends.shared
                opened = open_engine(part, self.of.name, wrt, self._session, layout, probe, shared)
                opened.also, opened.rounded = wrt, self._gradients
                if opened.most_rows is None and (
                    layout.fixed or not rows_apart(prologue, wrt, probe, shared)
                ):
                    opened.most_rows = 1
                self._inside = opened
        engine = self._inside
        z = self._inner_tensors(feeds, layout, apart=engine.most_rows == 1)
        outputs = engine.forward(ends.inputs, ends.others, ends.shared, np.arange(ends.count))
        return Placed(layout, bare, ends, engine, outputs, z)

    def _outer_ends(self, feeds: dict[str, Array], baselines: Any, layout: Batching) -> Ends:
        """Ends of paths of the inputs; whatever is float moves, unless it has no batch axis."""
        count = len(next(iter(feeds.values())))
        shared = {n: a[0] for n, a in feeds.items() if layout.batched and n not in layout.inputs}
        points = {n: a for n, a in feeds.items() if n not in shared and a.dtype.kind == "f"}
        others = {n: a for n, a in feeds.items() if n not in shared and n not in points}
        if not points:
            raise InputError(
                "conductance and internal influence follow a path of float inputs with a batch "
                "axis, and the model has none",
                hint="integrated_gradients takes a path in the space of the inner tensor",
            )
        listed = baseline_values.as_list(baselines)
        built = [baseline_values.build(b, points, batched=True) for b in listed]
        b_points = {n: np.concatenate([b[n] for b in built]) for n in points}
        return Ends(points, b_points, others, shared, count)

    def _ends(self, feeds: dict[str, Array], baselines: Any, layout: Batching) -> Ends:
        """Where the paths end and begin, and what else the model is fed with."""
        names = [s.name for s in self.wrt]
        count = len(next(iter(feeds.values())))
        z = self._inner_tensors(feeds, layout) if self._inner else {}
        points = {n: z[n] if n in z else feeds[n] for n in names}
        needed = set(self._part.facts["fed"])
        rest = {n: a for n, a in feeds.items() if n in needed and n not in points}
        shared = {n: a[0] for n, a in rest.items() if layout.batched and n not in layout.inputs}
        others = {n: a for n, a in rest.items() if n not in shared}
        built = []
        common = False
        if isinstance(baselines, Background):
            listed = baselines.members(points, feeds)
            common = not self._inner and not others
            common = common and all(of_any_example(b, points) for b in listed)
        else:
            listed = baseline_values.as_list(baselines)
        for baseline in listed:
            if self._inner and self._through_model(baseline):
                of_inputs = baseline_values.build(
                    baseline, {n: a for n, a in feeds.items() if a.dtype.kind == "f"}, batched=True
                )
                at = feeds | of_inputs
                z_baseline = self._inner_tensors(at, layout)
                built.append({n: z_baseline[n] if n in z_baseline else at[n] for n in names})
            else:
                of = {n: x[:1] for n, x in points.items()} if common else points
                built.append(baseline_values.build(baseline, of, batched=True))
        b_points = {n: np.concatenate([b[n] for b in built]) for n in names}
        return Ends(points, b_points, others, shared, count, common)

    def _through_model(self, baseline: Any) -> bool:
        """Whether a baseline is one of the model's inputs, to be carried on to the inner tensor.

        That is so for a mapping that names inputs, and for the default zeros of a model whose
        inputs are all float; zeros of token numbers would be a token.
        """
        if isinstance(baseline, Mapping):
            return not set(baseline) <= {s.name for s in self.wrt}
        return baseline is None and all(i.is_float for i in self.inputs)

    def _inner_tensors(
        self, feeds: Feeds, layout: Batching, *, apart: bool = False
    ) -> dict[str, Array]:
        """The inner tensors of each example; `apart` where their first axis may be another one."""
        prologue = self._up_to_inner()
        rows = len(next(iter(feeds.values())))
        single = layout.fixed or not layout.batched or apart
        found: list[list[Array]] = []
        for part in [slice(r, r + 1) for r in range(rows)] if single else [slice(None)]:
            at = {n: a[part] if n in layout.inputs else a[0] for n, a in feeds.items()}
            made = prologue.run(self._inner, at)
            whole = [not layout.batched or (apart and m.shape[:1] != (1,)) for m in made]
            found.append([m[np.newaxis] if w else m for m, w in zip(made, whole, strict=True)])
        return {n: np.concatenate([f[i] for f in found]) for i, n in enumerate(self._inner)}

    def _up_to_inner(self) -> Session:
        with self._lock:
            if self._prologue is None:
                self._prologue = self._session(self._normal.then("pruned", outputs=self._inner))
            return self._prologue

    def _session(
        self,
        model: Derived,
        *,
        options: Cuda = _CUDA,
        arena: Arena = Arena.RELEASED,
        recorded: bool = False,
    ) -> OrtSession:
        return OrtSession(
            model.data,
            folder=self._given.folder,
            provider=self._provider,
            threads=self._threads,
            cuda=options,
            arena=arena,
            recorded=recorded,
        )

    def _gradients(self, graph: GradientGraph, arena: Arena, recorded: bool) -> Session:
        """A session of a gradient graph in the precision asked for, on its device if it has one."""
        model = graph.model
        if self._precision == "fp16":
            names = sorted(graph.gradients.values())
            model = model.then("half", cotangent=graph.cotangent, gradients=names)
        device, reason = cuda.opened(self._provider)
        options = Cuda(tf32=self._precision == "tf32")
        if device is not None:
            options = replace(options, stream=device.address, graph=True)
        if self._memory is not None and not self._loaded.facts["external"]:
            # a budget is for what comes beside the loaded model
            options = replace(options, memory=self._memory + len(model.data))
        opened = self._session(model, options=options, arena=arena, recorded=recorded)
        on_cuda = opened.provider == "CUDAExecutionProvider"
        if self._precision == "tf32" and not on_cuda:
            check("tf32", opened.provider)
        if on_cuda:
            self._lanes[opened] = cuda.Lanes(opened, device)
            self._on_cuda = {
                "nodes": opened.nodes,
                "graph": opened.no_graph or "captured",
                "path": f"through the host: {reason}" if device is None else "on the device",
            }
        return opened

    def _engine_for(self, ends: Ends, layout: Batching) -> Engine:
        with self._lock:
            if self._engine is None:
                wrt = tuple(s.name for s in self.wrt)
                probe = probes(ends)
                self._engine = open_engine(
                    self._part, self.of.name, wrt, self._session, layout, probe, ends.shared
                )
                self._engine.rounded = self._gradients
            return self._engine

    def _provenance(self, **options: Any) -> dict[str, Any]:
        return {**self._origin, **options}

    @cached_property
    def _origin(self) -> dict[str, Any]:
        return {
            "model": self._given.name,
            "sha256": self._given.sha256,
            "of": self.of.name,
            "wrt": [s.name for s in self.wrt],
            "opset": self._loaded.facts["opset"],
            "igrt": igrt.__version__,
            "onnx": self._loaded.facts["onnx"],
            "onnxruntime": _runtime_version(),
            **({"quantised": self._quantised} if self._quantised else {}),
            **({"locally_constant": self._cut} if self._cut else {}),
        }


def explain(
    model: ModelLike,
    inputs: Feeds | Any,
    *,
    of: str | None = None,
    wrt: Sequence[str] | None = None,
    provider: str = "auto",
    memory: int | None = None,
    threads: int | None = None,
    quantised: str = STRAIGHT_THROUGH,
    precision: str = "float32",
    cache: CacheLike = False,
    **options: Any,
) -> Attribution:
    """Explain one model once: `Explainer(model, …).explain(inputs, …)` with the same keywords."""
    explainer = Explainer(
        model,
        of=of,
        wrt=wrt,
        provider=provider,
        memory=memory,
        threads=threads,
        quantised=quantised,
        precision=precision,
        cache=cache,
    )
    return explainer.explain(inputs, **options)


def _names(wrt: Sequence[str] | None) -> Sequence[str] | None:
    """The names as JSON has them; a text, which is refused later, as it is."""
    return wrt if wrt is None or isinstance(wrt, str) else list(wrt)


def _spec(listed: list[Any]) -> TensorSpec:
    """A spec as `igrt.making` writes it."""
    name, dtype, shape = listed
    return TensorSpec(name, dtype, None if shape is None else tuple(shape))


def _informed(scheme: Scheme, engine: Engine, ends: Ends) -> Scheme:
    """The adaptive rule, with what the gradient graph tells of the integrand."""
    lean = engine.lean
    if lean.constant_from_zero if ends.from_zero else lean.constant:
        return constant_scheme()
    return replace(scheme, smooth=lean.smooth)


def _scheme(
    method: Method, rule: str | None, n_steps: int | None, tolerance: float, seed: int
) -> Scheme | Sampling | InnerScheme:
    """Where a method evaluates gradients."""
    if isinstance(method, methods.ExpectedGradients):
        return method.sampling(rule, n_steps, tolerance, seed)
    if isinstance(method, (methods.Conductance, methods.InternalInfluence)):
        return method.inner_scheme(rule, n_steps, tolerance)
    return method.scheme(rule, n_steps, tolerance)


def _keeping(scheme: Scheme | Sampling | InnerScheme, shown: Feeds, paths: int) -> Keeping:
    """What is known of the paths in work."""
    features = max(1, sum(int(np.prod(x.shape[1:], dtype=np.int64)) for x in shown.values()))
    if isinstance(scheme, Sampling):
        return sample.keeping(scheme, features, paths)
    if isinstance(scheme, InnerScheme):
        return inside.keeping(scheme, features, paths)
    return stream.keeping(scheme, features, paths)


def _outputs(engine: Engine, shown: Feeds) -> list[Output]:
    """The gradients, as the model gives them."""
    gradients = engine.lean.gradients
    return [Output(g, shown[n].shape[1:], shown[n].dtype) for n, g in gradients.items()]


def _averaged(found: Integrals, sets: int, rows: int) -> tuple[dict[str, Array], Array, Array]:
    """Mean over the baselines; relative error, where errors of the paths may add up."""
    values = {n: v.reshape(sets, rows, *v.shape[1:]).mean(axis=0) for n, v in found.values.items()}
    absolute = found.error.reshape(sets, rows).mean(axis=0)
    norm = sum((np.abs(v.reshape(rows, -1)).sum(axis=1) for v in values.values()), np.zeros(rows))
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(absolute == 0, 0.0, absolute / norm)
    return values, relative, found.evaluations.reshape(sets, rows).sum(axis=0)


def _described(baselines: Any) -> Literal["zeros"] | str | list[str]:
    """What the baselines were, in words: arrays are not repeated in the provenance."""
    if isinstance(baselines, Background):
        baselines = baselines.baselines
    parts = [
        "zeros"
        if b is None
        else b
        if isinstance(b, str)
        else str(b)
        if isinstance(b, (int, float))
        else "array"
        for b in baseline_values.as_list(baselines)
    ]
    return parts[0] if len(parts) == 1 else parts


def _runtime_version() -> str:
    from igrt.runtime.ort import onnxruntime

    return str(onnxruntime().__version__)


__all__ = ["Explainer", "explain"]
