/** Server-sent events over fetch, because EventSource cannot send an Authorization header. */

export interface Message {
  event: string;
  data: string;
  id: string | null;
}

/** Cuts a stream of text into messages, wherever the chunks end (the HTML standard's rules, without `retry`). */
export class Parser {
  #rest = "";
  #event = "";
  #data: string[] = [];
  #id: string | null = null;

  feed(chunk: string): Message[] {
    const found: Message[] = [];
    let text = this.#rest + chunk;
    const half = text.endsWith("\r"); // its \n may come with the next chunk
    if (half) text = text.slice(0, -1);
    const lines = text.split(/\r\n|\r|\n/);
    this.#rest = (lines.pop() ?? "") + (half ? "\r" : "");
    for (const line of lines) {
      const message = this.#line(line);
      if (message) found.push(message);
    }
    return found;
  }

  #line(line: string): Message | null {
    if (line === "") {
      const message = this.#data.length
        ? { event: this.#event || "message", data: this.#data.join("\n"), id: this.#id }
        : null;
      this.#event = "";
      this.#data = [];
      return message;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return null; // a comment: still here
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#event = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    return null;
  }
}

export class Refused extends Error {
  readonly status: number;
  constructor(status: number) {
    super(`the stream was refused with ${status}`);
    this.status = status;
  }
}

export interface Listener {
  open: () => void;
  message: (message: Message) => void;
  /** Anything came, a comment too. */
  beat: () => void;
}

/** Reads until the stream ends (returns), fails or is aborted (throws). */
export async function listen(url: string, headers: Record<string, string>, signal: AbortSignal, to: Listener): Promise<void> {
  const response = await fetch(url, { headers: { accept: "text/event-stream", ...headers }, signal, cache: "no-store" });
  if (!response.ok || !response.body) throw new Refused(response.status);
  to.open();
  const parser = new Parser();
  const reader = response.body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    to.beat();
    for (const message of parser.feed(value)) to.message(message);
  }
}

/** Seconds to wait before try `n` (from 0): 1, 2, 4 … 20, with jitter so that a hundred boards do not return at once. */
export function backoff(n: number, random: number): number {
  return Math.min(20, 2 ** n) * (0.75 + random / 2);
}
