/** An event of a stream of server-sent events. `data` is empty where it has only an id. */
export interface ServerEvent {
  id: string | null;
  data: string;
}

/** Yield the events of a body of `text/event-stream`. `heard` is called for everything that arrives. */
export async function* serverEvents(body: ReadableStream<Uint8Array>, heard: () => void): AsyncGenerator<ServerEvent> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let id: string | null = null;
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return; // An event without the empty line at its end is not complete.
      heard();
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const each of lines) {
        const line = each.endsWith("\r") ? each.slice(0, -1) : each;
        if (line === "") {
          if (id !== null || data.length) yield { id, data: data.join("\n") };
          id = null;
          data = [];
        } else if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
        else if (line.startsWith("id:")) id = line.slice(line[3] === " " ? 4 : 3);
      }
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
