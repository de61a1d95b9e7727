import { expect, test } from "vitest";
import { type ServerEvent, serverEvents } from "./server_events";

const TEXT = ': ping\n\nid: 4\ndata: {"a":"é"}\n\nid: 2-7\n\ndata: one\r\ndata: two\r\n\r\ndata: cut off';

async function eventsOf(pieces: Uint8Array[]): Promise<ServerEvent[]> {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const piece of pieces) controller.enqueue(piece);
      controller.close();
    },
  });
  const found: ServerEvent[] = [];
  for await (const event of serverEvents(body, () => undefined)) found.push(event);
  return found;
}

test.each([1, 2, 3, 1_000])("events are the same in pieces of %d bytes", async (size) => {
  const bytes = new TextEncoder().encode(TEXT);
  const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
    bytes.slice(i * size, (i + 1) * size),
  );
  expect(await eventsOf(pieces)).toEqual([
    { id: "4", data: '{"a":"é"}' },
    { id: "2-7", data: "" },
    { id: null, data: "one\ntwo" },
  ]);
});
