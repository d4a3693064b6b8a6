// The command that would submit a job again.

import { printable } from "./printable.js";

/** Return the command, for a POSIX shell. */
export function curlFor(job) {
  const strings = [["processor", job.processor]];
  if (Object.keys(job.params).length) strings.push(["params", JSON.stringify(job.params)]);
  if (Object.keys(job.metadata).length) strings.push(["metadata", JSON.stringify(job.metadata)]);
  if (job.priority) strings.push(["priority", job.priority]);
  // --form-string takes the value as it is, where -F reads meaning into @, < and ;
  const parts = strings.map(([name, value]) => `--form-string ${quoted(`${name}=${value}`)}`);
  const files = job.inputs.map((file) => `-F ${quoted(`file=@"${file.name.replace(/[\\"]/g, "\\$&")}"`)}`);
  return printable([`curl ${quoted(`${location.origin}/v1/jobs`)}`, ...parts, ...files].join(" \\\n  "));
}

function quoted(text) {
  return /^[\w.:/=@,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
