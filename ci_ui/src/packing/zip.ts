/** Writes a zip archive of files that a browser has been given, without keeping their contents in memory. */

export interface Member {
  /** Below the root, with `/` between names; that of a folder ends with `/`. */
  path: string;
  /** Null for a folder. */
  file: Blob | null;
  /** When it was changed, in milliseconds. */
  changed: number;
}

/** A file could not be read, for example since it has changed. */
export class Unreadable extends Error {
  constructor(readonly path: string) {
    super(path);
    this.name = "Unreadable";
  }
}

const STORED = 0;
const DEFLATED = 8;
const VERSION = 20;
const VERSION_64 = 45;
const MADE_ON_UNIX = 3 << 8;
const UTF8_NAME = 0x800;
const MOST_MEMBERS = 0xffff;
const LOCAL_SIZE = 30;
const CENTRAL_SIZE = 46;
const END_SIZE = 22;
const END_64_SIZE = 76;
const REGULAR = 0o100644;
const EXECUTABLE = 0o100755;
const FOLDER = 0o040755;
const DOS_FOLDER = 0x10;
const AT_ONCE = 4 * 1024 * 1024;
const PART = 8 * 1024 * 1024;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** Return the CRC-32 of what came before, and these bytes. */
export function crc32(bytes: Uint8Array, before = 0): number {
  let value = ~before;
  for (let place = 0; place < bytes.length; place++) {
    value = (TABLE[(value ^ (bytes[place] as number)) & 0xff] as number) ^ (value >>> 8);
  }
  return ~value >>> 0;
}

interface Packed {
  data: Blob | Uint8Array<ArrayBuffer>;
  packedSize: number;
  size: number;
  checksum: number;
  method: number;
  isScript: boolean;
}

/** Return the archive. `onProgress` is told the bytes that have been read. Throws Unreadable, RangeError if it gets too large. */
export async function zipped(members: Member[], onProgress: (bytes: number) => void = () => undefined): Promise<Blob> {
  const archive = new Parts();
  const central = new Parts();
  for (const member of members) {
    const packed = member.file ? await read(member.path, member.file, onProgress) : EMPTY;
    if (archive.size + packed.packedSize > 0xffffffff || packed.size > 0xffffffff) {
      throw new RangeError("an archive of more than 4 GiB");
    }
    const name = new TextEncoder().encode(member.path);
    const local = header(LOCAL_SIZE, name, member, packed, null);
    central.add(header(CENTRAL_SIZE, name, member, packed, archive.size));
    archive.add(local);
    archive.add(packed.data);
  }
  const last = end(members.length, archive.size, central.size);
  return new Blob([archive.whole(), central.whole(), last], { type: "application/zip" });
}

/** Bytes in their order. Small ones are copied together, since a blob of many parts is slow. */
class Parts {
  size = 0;
  #parts: BlobPart[] = [];
  #buffer = new Uint8Array(PART);
  #used = 0;

  add(data: Blob | Uint8Array<ArrayBuffer>) {
    const isBlob = data instanceof Blob;
    const size = isBlob ? data.size : data.length;
    if (isBlob || this.#used + size > PART) this.#flush();
    if (isBlob || size > PART) {
      this.#parts.push(data);
    } else {
      this.#buffer.set(data, this.#used);
      this.#used += size;
    }
    this.size += size;
  }

  whole(): Blob {
    this.#flush();
    return new Blob(this.#parts);
  }

  #flush() {
    if (!this.#used) return;
    // A blob of its own, which the browser may keep on disk.
    this.#parts.push(new Blob([this.#buffer.subarray(0, this.#used)]));
    this.#used = 0;
  }
}

const EMPTY: Packed = {
  data: new Uint8Array(),
  packedSize: 0,
  size: 0,
  checksum: 0,
  method: STORED,
  isScript: false,
};

async function read(path: string, file: Blob, onProgress: (bytes: number) => void): Promise<Packed> {
  let size = 0;
  let checksum = 0;
  let isScript = false;
  const note = (bytes: Uint8Array) => {
    if (size === 0) isScript = bytes[0] === 0x23 && bytes[1] === 0x21;
    checksum = crc32(bytes, checksum);
    size += bytes.length;
    onProgress(bytes.length);
  };
  let data: Blob | Uint8Array<ArrayBuffer>;
  let stored: Blob | Uint8Array<ArrayBuffer>;
  try {
    if (file.size <= AT_ONCE) {
      stored = new Uint8Array(await file.arrayBuffer());
      note(stored);
      data = new Uint8Array(await new Response(deflated(new Blob([stored]))).arrayBuffer());
    } else {
      const counter = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
        transform(bytes, controller) {
          note(bytes);
          controller.enqueue(bytes);
        },
      });
      data = await new Response(file.stream().pipeThrough(counter).pipeThrough(deflation())).blob();
      stored = file;
    }
  } catch {
    throw new Unreadable(path);
  }
  if (size !== file.size) throw new Unreadable(path);
  const packedSize = data instanceof Blob ? data.size : data.length;
  if (packedSize >= size) return { data: stored, packedSize: size, size, checksum, method: STORED, isScript };
  return { data, packedSize, size, checksum, method: DEFLATED, isScript };
}

function deflation() {
  return new CompressionStream("deflate-raw") as unknown as ReadableWritablePair<
    Uint8Array<ArrayBuffer>,
    Uint8Array<ArrayBuffer>
  >;
}

function deflated(blob: Blob): ReadableStream<Uint8Array<ArrayBuffer>> {
  return blob.stream().pipeThrough(deflation());
}

/** Return the record of a member: the one before its content, or, with its offset, the one in the directory. */
function header(length: number, name: Uint8Array, member: Member, packed: Packed, offset: number | null) {
  const record = new Uint8Array(length + name.length);
  const view = new DataView(record.buffer);
  const isCentral = offset !== null;
  let place = 0;
  const put16 = (value: number) => {
    view.setUint16(place, value, true);
    place += 2;
  };
  const put32 = (value: number) => {
    view.setUint32(place, value, true);
    place += 4;
  };
  put32(isCentral ? 0x02014b50 : 0x04034b50);
  if (isCentral) put16(MADE_ON_UNIX | VERSION);
  put16(VERSION);
  put16(UTF8_NAME);
  put16(packed.method);
  const [time, date] = dosTime(member.changed);
  put16(time);
  put16(date);
  put32(packed.checksum);
  put32(packed.packedSize);
  put32(packed.size);
  put16(name.length);
  put16(0);
  if (isCentral) {
    put16(0);
    put16(0);
    put16(0);
    const mode = member.file === null ? FOLDER : packed.isScript ? EXECUTABLE : REGULAR;
    put32(((mode << 16) | (member.file === null ? DOS_FOLDER : 0)) >>> 0);
    put32(offset);
  }
  record.set(name, place);
  return record;
}

function end(count: number, start: number, size: number): Uint8Array<ArrayBuffer> {
  const isLarge = count >= MOST_MEMBERS || start + size > 0xffffffff;
  const record = new Uint8Array((isLarge ? END_64_SIZE : 0) + END_SIZE);
  const view = new DataView(record.buffer);
  let place = 0;
  if (isLarge) {
    view.setUint32(0, 0x06064b50, true);
    view.setBigUint64(4, 44n, true);
    view.setUint16(12, MADE_ON_UNIX | VERSION_64, true);
    view.setUint16(14, VERSION_64, true);
    view.setBigUint64(24, BigInt(count), true);
    view.setBigUint64(32, BigInt(count), true);
    view.setBigUint64(40, BigInt(size), true);
    view.setBigUint64(48, BigInt(start), true);
    view.setUint32(56, 0x07064b50, true);
    view.setBigUint64(64, BigInt(start + size), true);
    view.setUint32(72, 1, true);
    place = END_64_SIZE;
  }
  const narrow = Math.min(count, MOST_MEMBERS);
  view.setUint32(place, 0x06054b50, true);
  view.setUint16(place + 8, narrow, true);
  view.setUint16(place + 10, narrow, true);
  view.setUint32(place + 12, Math.min(size, 0xffffffff), true);
  view.setUint32(place + 16, Math.min(start, 0xffffffff), true);
  return record;
}

const FIRST_YEAR = 1980;
const LAST_YEAR = 2107;

function dosTime(milliseconds: number): [number, number] {
  const at = new Date(milliseconds);
  const year = Math.min(Math.max(at.getUTCFullYear(), FIRST_YEAR), LAST_YEAR) - FIRST_YEAR;
  const time = (at.getUTCHours() << 11) | (at.getUTCMinutes() << 5) | (at.getUTCSeconds() >> 1);
  return [time, (year << 9) | ((at.getUTCMonth() + 1) << 5) | at.getUTCDate()];
}
