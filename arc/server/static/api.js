// Requests to the endpoint: JSON in and out, one error type, and a token where one is required.

export class ApiError extends Error {
  /** `status` is the HTTP status, or 0 when the server did not respond. */
  constructor(message, status, body = {}) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

const TOKEN = "arc.token";
const TIMEOUT_MS = 45000; // longer than the server lets a request wait
let askToken = null; // set by main.js: async (wasWrong) => token or null
let asking = null; // the open token prompt, shared by all requests that wait for it
let kept = null; // the token, where the browser has no storage

export const onTokenWanted = (ask) => (askToken = ask);

export const get = (path, timeout) => request(path, { timeout });

export const post = (path, body) =>
  request(path, {
    method: "POST",
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });

/** Download `path`. A plain link cannot send the token, so with a token the file is fetched first. */
export async function download(path, name) {
  const link = document.createElement("a");
  link.download = name;
  if (!storedToken()) {
    link.href = path;
    link.click();
    return;
  }
  const response = await fetch(path, { headers: authorization() });
  if (!response.ok) throw await failure(response);
  link.href = URL.createObjectURL(await response.blob());
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function request(path, options) {
  const used = storedToken();
  const response = await send(path, options);
  if (response.status === 401 && askToken) {
    const token = storedToken() !== used ? storedToken() : await wantToken(used !== null);
    if (token) return request(path, options);
  }
  if (!response.ok) throw await failure(response);
  try {
    return await response.json();
  } catch {
    throw new ApiError(`${path}: the answer is not JSON`, response.status);
  }
}

async function send(path, { timeout = TIMEOUT_MS, headers, ...rest }) {
  const signal = AbortSignal.timeout(timeout);
  try {
    return await fetch(path, {
      cache: "no-store",
      ...rest,
      headers: { ...headers, ...authorization() },
      signal,
    });
  } catch {
    const why = signal.aborted ? `no answer within ${timeout / 1000} s` : "no connection";
    throw new ApiError(`${path.split("?")[0]}: ${why}`, 0);
  }
}

async function failure(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // an error page of a proxy
  }
  const text = typeof body?.error === "string" ? body.error : `HTTP ${response.status}`;
  return new ApiError(text, response.status, body ?? {});
}

function wantToken(wasWrong) {
  asking ??= askToken(wasWrong)
    .then((token) => {
      if (token) storeToken(token);
      return token;
    })
    .finally(() => (asking = null));
  return asking;
}

function storedToken() {
  try {
    return sessionStorage.getItem(TOKEN) ?? kept;
  } catch {
    return kept;
  }
}

function storeToken(token) {
  kept = token;
  try {
    sessionStorage.setItem(TOKEN, token);
  } catch {
    // without storage, the token lasts as long as the page
  }
}

/** Store the token of a link (#token=… or ?token=…) and remove it from the address bar; true if there is one. */
function takeTokenFromAddress() {
  const token = [location.hash, location.search].map((part) => new URLSearchParams(part.slice(1)).get("token")).find(Boolean);
  if (token === undefined) return false;
  if (/^[!-~]+$/.test(token)) storeToken(token);
  history.replaceState(null, "", location.pathname);
  return true;
}

takeTokenFromAddress();
addEventListener("hashchange", () => takeTokenFromAddress() && location.reload());

function authorization() {
  const token = storedToken();
  return token ? { Authorization: `Bearer ${token}` } : {};
}
