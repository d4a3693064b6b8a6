// One submission on its way: `fetch` cannot say how much of a body has gone, so this is an XMLHttpRequest.

import { Refusal, Unreachable } from "./api.js";

/**
 * Send files as one job. Return `{done, cancel}`; `done` gives the job, or fails with a Refusal, an Unreachable, or null
 * when it was cancelled. The params go first, so that a wrong one is refused before the files have travelled.
 */
export function send({ processor, params, files, key }, onProgress) {
  const request = new XMLHttpRequest();
  const form = new FormData();
  form.append("processor", processor);
  form.append("params", JSON.stringify(params));
  for (const file of files) form.append("file", file, file.name);

  const done = new Promise((resolve, reject) => {
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      const answer = parsed(request.responseText);
      if (request.status === 202) resolve(answer);
      else reject(new Refusal(request.status, answer));
    };
    request.onerror = () => reject(new Unreachable());
    request.onabort = () => reject(null);
  });
  request.open("POST", "/v1/jobs");
  request.setRequestHeader("Idempotency-Key", key);
  request.send(form);
  return { done, cancel: () => request.abort() };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
