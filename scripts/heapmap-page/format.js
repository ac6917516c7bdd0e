// How figures are written, and how elements are made. Text is only ever set as text, never as HTML.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

// Three digits, or all of them below 1 KiB.
function bytes(number) {
  let unit = 0;
  while (Math.abs(number) >= 999.5 && unit < UNITS.length - 1) {
    number /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
  return `${number.toFixed(digits)} ${UNITS[unit]}`;
}

const count = (number) => number.toLocaleString("en");

// As narrow as in `page.css`.
const narrow = window.matchMedia("(max-width: 560px)");

// In a table: three digits of what is long where there is no room for all.
const tableCount = (number) => (
  narrow.matches && number >= 1e5 ? number.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 }) : count(number)
);

const counted = (number, name) => `${count(number)} ${name}${number === 1 ? "" : "s"}`;

const percent = (part, whole) => (whole > 0 ? `${Math.round((100 * part) / whole)} %` : "–");

const address = (number) => `0x${number.toString(16)}`;

// A block size as short as it can be: 48, 1.5K.
const shortSize = (size) => (size < 1024 ? `${size}` : `${+(size / 1024).toFixed(2)}K`);

const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// The value of a colour or length that the style sheet owns.
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const isDark = () => getComputedStyle(document.documentElement).colorScheme === "dark";
