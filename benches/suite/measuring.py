"""All the runs of a plan, in their order, from the start or from where an earlier run was interrupted.

Owns the loop and what it decides on the way: runs that are not worth repeating, groups that there is no time for. What must hold:
the order is that of the plan, so that whatever was measured when it stops are whole rounds and the beginning of one; decisions
are kept with the runs, and a run that goes on comes to the same ones.
"""

from collections import defaultdict

from .progress import Progress, duration, say

# Seconds that a whole run may take.
BUDGET = 30 * 60
# Seconds that a run of anything is expected to take before anything was measured.
GUESS = 0.5
# A workload that failed this often on an allocator is not run on it again.
FAILURES = 2


class Costs:
    """What runs took so far, and from that what others will."""

    def __init__(self, runs):
        # Seconds and runs, by what they are like.
        self._taken = defaultdict(lambda: [0.0, 0])
        for run in runs:
            self.add(run)

    def add(self, run):
        for known in self._likenesses(run["group"], run["workload"], run["allocator"]):
            taken = self._taken[known]
            taken[0] += run["elapsed"]
            taken[1] += 1

    def expected(self, group, workload, allocator):
        """From runs of the same, or else of what is most like it."""
        for known in self._likenesses(group, workload, allocator):
            if known in self._taken:
                seconds, runs = self._taken[known]
                return seconds / runs
        return GUESS

    @staticmethod
    def _likenesses(group, workload, allocator):
        same_workload = (group, workload, allocator), (group, workload, None), (None, workload, None)
        return *same_workload, (group, None, None), (None, None, None)


def measure(plan, runner, journal, budget=BUDGET):
    """Runs what the journal does not have yet. Whatever ends it early, the journal has all that was measured."""
    costs = Costs(journal.runs)
    failures = defaultdict(int)
    done = set()

    def enter(run):
        row = run["group"], run["workload"], run["allocator"]
        done.add((run["round"], *row))
        failures[row] += run["failure"] is not None

    for run in journal.runs:
        enter(run)
    left = [step for step in plan.steps() if (step.round, *step.row) not in done]
    spoken = False
    with Progress() as progress:
        while left:
            if left[0].item.group in plan.optional and "left_out" not in journal.notes:
                journal.note(left_out=_left_out(plan, left, costs, journal.runs, budget))
            left_out = journal.notes.get("left_out", [])
            left = [step for step in left if failures[step.row] < FAILURES and step.item.group not in left_out]
            if not left:
                break
            step = left[0]
            seconds = sum(costs.expected(*step.row) for step in left)
            if step.round > 1 and not spoken:
                spoken = True
                say(f"About {duration(seconds + _elapsed(journal.runs))} in all")
            progress.now(step, plan.rounds[step.item.group], len(journal.runs), len(journal.runs) + len(left), seconds)
            group, workload, allocator = step.row
            run = {"workload": workload, "group": group, "allocator": allocator, "round": step.round}
            run.update(runner.run(step.item.command, plan.environment(step)))
            journal.add(run)
            costs.add(run)
            enter(run)
            left.pop(0)


def _elapsed(runs):
    return sum(run["elapsed"] for run in runs)


def _left_out(plan, left, costs, runs, budget):
    """The optional groups that do not fit into the budget, now that all others were measured once."""
    seconds = defaultdict(float)
    for step in left:
        seconds[step.item.group] += costs.expected(*step.row)
    total = _elapsed(runs) + sum(taken for group, taken in seconds.items() if group not in plan.optional)
    groups = []
    for group in plan.optional:
        if total + seconds[group] > budget:
            groups.append(group)
        else:
            total += seconds[group]
    if groups:
        whole = total + sum(seconds[group] for group in groups)
        say(f"Left out: {', '.join(groups)}; a run of everything would take about {duration(whole)}")
    return groups
