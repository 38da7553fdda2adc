// Shows a bearer token with every request of a program that has no option for it: NODE_OPTIONS="--require .../bearer.cjs"
// with BEARER set. The conformance suite uses fetch, node:http and undici; UNDICI_FOR names a file beside whose undici that is.
const authorization = `Bearer ${process.env.BEARER}`;
const { fetch: plainFetch } = globalThis;
globalThis.fetch = (input, options = {}) => {
  const headers = new Headers(options.headers);
  headers.set("authorization", authorization);
  return plainFetch(input, { ...options, headers });
};
const http = require("node:http");
const { request: plainRequest } = http;
http.request = (target, ...rest) => {
  const isOptions = typeof target === "object" && !(target instanceof URL);
  return plainRequest(isOptions ? { ...target, headers: { ...target.headers, authorization } } : target, ...rest);
};
const undici = require("node:module").createRequire(process.env.UNDICI_FOR)("undici");
const withToken = (dispatch) => (options, handler) => {
  const isPlain = !Array.isArray(options.headers) && typeof options.headers?.[Symbol.iterator] !== "function";
  return dispatch(isPlain ? { ...options, headers: { ...options.headers, authorization } } : options, handler);
};
undici.setGlobalDispatcher(undici.getGlobalDispatcher().compose(withToken));
