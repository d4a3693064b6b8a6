// Sets the colours before the first paint. It is no module on purpose: those run too late.
"use strict";
{
  const saved = localStorage.getItem("theme");
  if (saved === "light" || saved === "dark") document.documentElement.dataset.theme = saved;
}
