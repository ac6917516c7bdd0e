// Shows one of time, peak memory and page faults; without it the three tables of a group stand one below the other.
const root = document.documentElement;
const buttons = document.querySelectorAll(".switch button");
function show(metric) {
  root.dataset.shown = metric;
  for (const button of buttons) button.setAttribute("aria-pressed", button.value === metric);
}
for (const button of buttons) button.addEventListener("click", () => show(button.value));
root.classList.add("switched");
show("seconds");
