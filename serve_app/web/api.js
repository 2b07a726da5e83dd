// Talks to the service: one photo up, one answer down, every failure as a ServiceError with a code.

const KEY = "fashion-tagger-key";

export const accessKey = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (key) => sessionStorage.setItem(KEY, key),
};

export class ServiceError extends Error {
  constructor({ code, message = "", status = 0, retryAfter = null, requestId = "" }) {
    super(message);
    Object.assign(this, { code, status, retryAfter, requestId });
  }
}

// What a person reads: a title, what to do, and whether the same photo may work on another try.
const EXPLAINED = {
  image_unreadable: ["This file is not a photo we can read", "Save it again as JPEG, PNG or WebP and add it once more."],
  image_truncated: ["This photo ends too early", "It was probably not copied or downloaded completely. Fetch it again."],
  image_too_large: ["This photo is too large", "Make it smaller and add it once more."],
  image_type_unsupported: ["This kind of file is not supported", "Use a JPEG, PNG or WebP photo without animation."],
  bad_request: ["The service did not understand the request", "Reload the page; it may be older than the service."],
  key_missing: ["An access key is needed", "Enter it in the field on this page.", true],
  key_refused: ["The access key was refused", "Check it and enter it again.", true],
  not_found: ["The service is not where this page expects it", "Reload the page, or ask whoever runs the service."],
  upload_timeout: ["The upload took too long", "Try again on a faster connection, or with a smaller photo.", true],
  deadline_exceeded: ["The answer took too long", "The service is busy. Try again in a moment.", true],
  rate_limited: ["Too many photos at once", "Wait a little and try again.", true],
  overloaded: ["The service is busy", "Try again in a moment.", true],
  feedback_unavailable: ["The correction cannot be kept now", "Try again in a moment.", true],
  detector_unavailable: ["The service is starting or being repaired", "Try again in a minute.", true],
  internal: ["Something went wrong on our side", "Try again; if it stays, report the number below.", true],
  unreachable: ["The service cannot be reached", "Check the connection and try again.", true],
};

export function explain(error) {
  const [title, hint, canRetry = false] = EXPLAINED[error.code] ?? EXPLAINED.internal;
  // The size limits are the service's to name; every other sentence is ours.
  const limit = error.code === "image_too_large" ? sentence(error.message) : "";
  return { title, hint: limit + hint, canRetry };
}

// "the limit is 20971520 bytes" -> "The limit is 20 MB. "
function sentence(message) {
  if (!message) return "";
  const text = message
    .replace(/(\d{6,}) bytes/g, (_, bytes) => `${Math.floor(bytes / 2 ** 20)} MB`)
    .replace(/(\d{6,}) pixels/g, (_, pixels) => `${Math.floor(pixels / 1e6)} megapixels`);
  return `${text[0].toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."} `;
}

async function ask(path, options = {}) {
  const key = accessKey.get();
  const headers = { ...options.headers, ...(key && { authorization: `Bearer ${key}` }) };
  const response = await fetch(path, { ...options, headers }).catch(() => {
    throw new ServiceError({ code: "unreachable" });
  });
  if (response.ok) return response.json();
  throw failure(response.status, await response.json().catch(() => null), response.headers.get("Retry-After"));
}

export const getJson = (path) => ask(path);
export const postJson = (path, body) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

// XMLHttpRequest, because fetch tells nothing about the progress of an upload.
export function tagPhoto(file, query, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `v1/tag?${new URLSearchParams(query)}`);
    request.responseType = "json";
    request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    const key = accessKey.get();
    if (key) request.setRequestHeader("Authorization", `Bearer ${key}`);
    request.upload.onprogress = (event) => onProgress(event.lengthComputable ? event.loaded / event.total : 0);
    request.upload.onload = () => onProgress(1);
    request.onload = () => {
      const { status, response } = request;
      if (status === 200 && response) resolve(response);
      else reject(failure(status, response, request.getResponseHeader("Retry-After")));
    };
    request.onerror = () => reject(new ServiceError({ code: "unreachable" }));
    request.onabort = () => reject(new ServiceError({ code: "aborted" }));
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

function failure(status, body, retryAfter) {
  const error = body?.error ?? {};
  const seconds = Number.parseFloat(retryAfter ?? "");
  return new ServiceError({
    code: error.code ?? (status === 503 ? "overloaded" : "internal"),
    message: error.message ?? "",
    status,
    retryAfter: Number.isFinite(seconds) ? seconds : null,
    requestId: error.request_id ?? "",
  });
}
