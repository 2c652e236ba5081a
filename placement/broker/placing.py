"""What becomes of a plan (Algorithm 1, lines 13 to 18): splits decided, memory reserved, attempts begun and moved."""

from splitplace.placement import history as book
from splitplace.placement.broker import events as ev
from splitplace.placement.broker.attempt import assignments, receivers, unanswered
from splitplace.placement.broker.effects import StartFeed, Tell
from splitplace.placement.broker.leaving import put_back
from splitplace.placement.broker.ring import handed_on
from splitplace.placement.broker.running import end_if_done
from splitplace.placement.broker.state import Attempt, TaskState
from splitplace.placement.broker.turn import Turn
from splitplace.placement.protocol import messages
from splitplace.records.task import micro_batches


def carry_out(turn: Turn, event: ev.PlanMade) -> None:
    """What still holds of a plan: tasks may have left and devices may be gone since it was asked for."""
    del turn.state.left[: event.told]
    turn.state.plan_failure = ""
    acts = len(event.decided) + len(event.evicted) + len(event.placed) + len(event.moved)
    if acts:
        turn.note(book.Planned(at_s=turn.state.now_s, decision_s=event.decision_s, actions=acts))
    for decision in event.decided:
        task = turn.state.tasks.get(decision.task)
        if task is not None and task.decision is None:
            task.decision = decision
            split = turn.setup.entry(decision.split).split
            decided = book.Decided(
                at_s=turn.state.now_s, task=decision.task, split=split.reference, strategy=split.strategy
            )
            turn.note(decided)
    for eviction in event.evicted:
        evict(turn, eviction.fragment, eviction.device)
    moved: dict[int, dict[int, int]] = {}
    for migration in event.moved:
        moved.setdefault(migration.task, {})[migration.fragment] = migration.device
    for id_, rows in moved.items():
        move(turn, id_, rows)
    placed: dict[int, dict[int, int]] = {}
    for place in event.placed:
        placed.setdefault(place.task, {})[place.fragment] = place.device
    for id_, rows in placed.items():
        task = turn.state.tasks.get(id_)
        if task is None or task.job is not None or task.decision is None:
            continue
        # Half a pipeline would hold memory that another half waits for: all of it, or none for now.
        if rows.keys() == set(turn.setup.statics.splits.fragments(task.decision.split)):
            start(turn, task, rows)


def start(turn: Turn, task: TaskState, rows: dict[int, int]) -> None:
    """Reserve memory, order loads, tell every device its part; when the inputs flow is for `begin` to say."""
    assert task.decision is not None and task.job is None
    needs = {(row, device): turn.setup.need_bytes(row, device) for row, device in rows.items()}
    if not all(turn.state.placeable(device, turn.state.now_s) for device in rows.values()):
        return
    if not turn.state.ledger.fits(needs):
        return
    entry = turn.setup.entry(task.decision.split)
    split, total = entry.split, micro_batches(task.task.n, entry.micro_batch)
    names = {turn.setup.fragment(row)[1]: device for row, device in rows.items()}
    attempt = Attempt(
        id=turn.state.next_job,
        task=task.task.id,
        split=task.decision.split,
        devices=names,
        micro_batches=unanswered(split, task.answers, total),
        placed_s=turn.state.now_s,
        unassigned=set(),
        handed_on=handed_on(split, names, turn.state.inputs, turn.setup.precedence, task.degrade),
        ran={name: {} for name in names},
        progressed_s=turn.state.now_s,
    )
    attempt.unassigned |= receivers(attempt, split)
    turn.state.next_job += 1
    turn.state.jobs[attempt.id] = attempt
    task.job = attempt.id
    del turn.state.waiting[task.task.id]
    for row, device in rows.items():
        name = turn.setup.fragment(row)[1]
        turn.state.devices[device].jobs.add(attempt.id)
        placed = book.FragmentPlaced(
            at_s=turn.state.now_s,
            task=task.task.id,
            attempt=task.attempts,
            fragment=name,
            device=turn.setup.names[device],
        )
        turn.note(placed)
        if turn.state.ledger.reserve(attempt.id, row, device, needs[row, device], turn.state.now_s):
            turn.tell(device, messages.Load(fragment=split.by_name[name]))
    task.attempts += 1
    orders = assignments(attempt, entry, task.task.n, turn.setup.names, turn.setup.precedence, turn.setup.window)
    turn.todo.extend(Tell(device, assign) for device, assign in orders)
    begin(turn, attempt)


def move(turn: Turn, id_: int, rows: dict[int, int]) -> None:
    """Migrate fragments of a placed task, at a micro-batch's end: what is answered is kept, the rest runs there."""
    task = turn.state.tasks.get(id_)
    if task is None or task.job is None or task.decision is None:
        return
    attempt = turn.state.jobs[task.job]
    before = {turn.setup.row(attempt.split, name): device for name, device in attempt.devices.items()}
    after = before | rows
    changed = {row for row in after if after[row] != before[row]}
    needs = {(row, after[row]): turn.setup.need_bytes(row, after[row]) for row in changed}
    if not changed or not all(turn.state.placeable(device, turn.state.now_s) for device in after.values()):
        return
    if not turn.state.ledger.fits(needs):
        return
    for row in sorted(changed):
        source, target = turn.setup.names[before[row]], turn.setup.names[after[row]]
        moved = book.FragmentMigrated(
            at_s=turn.state.now_s, task=id_, fragment=turn.setup.fragment(row)[1], source=source, device=target
        )
        turn.note(moved)
    if end_if_done(turn, attempt, patient=False):
        return
    put_back(turn, attempt)
    start(turn, task, after)


def evict(turn: Turn, row: int, device: int) -> None:
    """Unload an idle fragment; one that is in use by now, or gone: nothing."""
    if not turn.state.ledger.evict(row, device, turn.state.now_s):
        return
    split, name = turn.setup.fragment(row)
    digest = split.by_name[name].digest
    if digest not in {turn.setup.digest(other) for other in turn.state.ledger.held[device]}:
        turn.tell(device, messages.Unload(digest=digest))
    note = book.FragmentEvicted(
        at_s=turn.state.now_s, device=turn.setup.names[device], split=split.reference, fragment=name
    )
    turn.note(note)


def loaded(turn: Turn, event: ev.DeviceLoaded) -> None:
    """A device has a fragment open: what waited for it may begin."""
    for row in rows_of(turn, event.device, event.digest):
        turn.state.ledger.loaded(row, event.device)
        split, name = turn.setup.fragment(row)
        note = book.FragmentLoaded(
            device=turn.setup.names[event.device],
            split=split.reference,
            fragment=name,
            digest=event.digest,
            start_s=event.start_s,
            end_s=event.end_s,
        )
        turn.note(note)
    turn.state.devices[event.device].progressed_s = turn.state.now_s
    turn.state.devices[event.device].silent = False
    for job in sorted(turn.state.devices[event.device].jobs):
        begin(turn, turn.state.jobs[job])


def rows_of(turn: Turn, device: int, digest: str) -> list[int]:
    """The fragments on a device whose file this is: splits may share one."""
    return [row for row in turn.state.ledger.held[device] if turn.setup.digest(row) == digest]


def begin(turn: Turn, attempt: Attempt) -> None:
    """Let the inputs flow as soon as every fragment is loaded, and known where others send to it.

    What the broker sends to a device comes behind its orders.
    """
    if attempt.started_s is not None or attempt.unassigned:
        return
    if all(
        turn.state.ledger.is_loaded(turn.setup.row(attempt.split, name), device)
        for name, device in attempt.devices.items()
    ):
        attempt.started_s = attempt.progressed_s = turn.state.now_s
        turn.note(book.InputsFlow(at_s=turn.state.now_s, task=attempt.task))
        turn.todo.append(StartFeed(attempt.id))
