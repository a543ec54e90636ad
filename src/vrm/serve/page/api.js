// Requests to the server that this page is from, and to no other.

/** What went wrong, in words for people. `status` is 0 where there was no answer. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const NO_ANSWER = "The server does not answer. It may have been stopped: start it again, then try again.";

let token = "";

/** The token that the server wants; kept in this page's memory alone. */
export function setToken(value) {
  token = value.trim();
}

/** The answer of a route. A relative path is relative to the server, whatever prefix a proxy gives it. */
export async function ask(path, body = null, signal = null) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const options = { headers, signal, cache: "no-store", credentials: "same-origin" };
  if (body !== null) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(new URL(`..${path}`, document.baseURI), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(NO_ANSWER, 0);
  }
  if (response.ok) return response.json();
  throw new ApiError(await reason(response), response.status);
}

async function reason(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered with the status ${response.status}.`;
  }
}

const draws = new Map();

/** The random numbers of `/v1/draws` for so many objectives, asked for once. */
export function drawsFor(count) {
  if (!draws.has(count)) {
    draws.set(count, ask(`/v1/draws/${count}`).catch((error) => {
      draws.delete(count);
      throw error;
    }));
  }
  return draws.get(count);
}
