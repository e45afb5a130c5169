/** Calls to APIs and the problems they answer (RFC 9457). */

export interface FieldProblem {
  pointer?: string;
  parameter?: string;
  code: string;
  message: string;
}

export class ApiProblem extends Error {
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  readonly errors: FieldProblem[];
  readonly trace: string;

  constructor(status: number, document: Record<string, unknown>) {
    const title = typeof document.title === "string" ? document.title : `The answer was ${status}`;
    super(title);
    this.status = status;
    this.title = title;
    this.detail = typeof document.detail === "string" ? document.detail : "";
    this.errors = Array.isArray(document.errors) ? (document.errors as FieldProblem[]) : [];
    this.trace = typeof document.trace_id === "string" ? document.trace_id : "";
  }
}

export interface Call {
  method?: string;
  body?: unknown;
  token?: string | undefined;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export async function call<T>(url: string, { method = "GET", body, token, headers = {}, signal }: Call = {}): Promise<T> {
  const init: RequestInit = { method, headers: { accept: "application/json", ...headers }, cache: "no-store" };
  const given = init.headers as Record<string, string>;
  if (token) given.authorization = `Bearer ${token}`;
  if (body !== undefined) {
    given["content-type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  if (signal) init.signal = signal;
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiProblem(0, { title: "The service cannot be reached", detail: "Check that it runs, then try again." });
  }
  const text = await response.text();
  let answer: unknown = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    answer = { title: `The answer was not JSON (${response.status})` };
    if (response.ok) throw new ApiProblem(response.status, answer as Record<string, unknown>);
  }
  if (!response.ok) throw new ApiProblem(response.status, (answer ?? {}) as Record<string, unknown>);
  return answer as T;
}

/** A key that makes a repeated request do its work once. */
export function onceKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
