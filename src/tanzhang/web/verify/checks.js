// What tanzhang/core/receipt.py does, in a browser: a receipt is checked from the record up, and the first thing that
// does not hold is refused with the code that Python gives. FIXED is the record layout, put in when the page is made.
"use strict";

class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const refuse = (code, message) => {
  throw new Refusal(code, message);
};

// -- bytes ----------------------------------------------------------------------------------------------------

const utf8 = new TextEncoder();
const HASH_BYTES = 32;
const MAX_TREE_SIZE = 1n << 62n;

const concat = (...parts) => {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let start = 0;
  for (const part of parts) {
    whole.set(part, start);
    start += part.length;
  }
  return whole;
};

const same = (left, right) => left.length === right.length && left.every((value, i) => value === right[i]);
const hex = (bytes) => [...bytes].map((value) => value.toString(16).padStart(2, "0")).join("");
const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const isHex = (text) => typeof text === "string" && /^(?:[0-9a-f]{2})*$/.test(text);
const latin1 = (bytes) => {
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return text;
};
const fromLatin1 = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

// The one strict form: standard alphabet, padded, unused bits zero.
const fromBase64 = (text, code) => {
  let raw = null;
  try {
    raw = /^[A-Za-z0-9+/]*={0,2}$/.test(text) ? atob(text) : null;
  } catch {
    raw = null;
  }
  if (raw === null || btoa(raw) !== text) refuse(code, "the base64 is not in its strict form");
  return fromLatin1(raw);
};

const fromDecimal = (text, code) => {
  if (!/^(?:0|[1-9][0-9]{0,18})$/.test(text) || BigInt(text) > MAX_TREE_SIZE) {
    refuse(code, `'${text.slice(0, 40)}' is not a plain decimal number up to 2^62`);
  }
  return BigInt(text);
};

const isWhole = (text) => typeof text === "string" && text.length <= 4300 && /^(?:0|-?[1-9][0-9]*)$/.test(text);

const text8 = (bytes, code, message) => {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return refuse(code, message);
  }
};

// JSON as Python writes it with sorted keys, no blanks and no escapes that are not needed.
const canonical = (value) => {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value !== null && typeof value === "object") {
    const names = Object.keys(value).sort();
    return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
  }
  return JSON.stringify(value);
};

// -- Merkle tree (RFC 6962 section 2.1) ---------------------------------------------------------------------------

const leafHash = (bytes) => sha256(concat([0], bytes));
const nodeHash = (left, right) => sha256(concat([1], left, right));

async function verifyInclusion(index, size, leaf, proof, root) {
  const wrong = (message) => refuse("inclusion-proof-invalid", message);
  if (index < 0n || index >= size) wrong(`index ${index} is not in a tree of ${size} leaves`);
  if ([leaf, root, ...proof].some((hash) => hash.length !== HASH_BYTES)) wrong("a hash is not 32 bytes long");
  let [node, last, value] = [index, size - 1n, leaf];
  for (const sibling of proof) {
    if (last === 0n) wrong(`the path has ${proof.length} hashes, more than a tree of ${size} leaves needs`);
    if (node & 1n || node === last) {
      value = await nodeHash(sibling, value);
      while (node && !(node & 1n)) {
        node >>= 1n;
        last >>= 1n;
      }
    } else {
      value = await nodeHash(value, sibling);
    }
    node >>= 1n;
    last >>= 1n;
  }
  if (last) wrong(`the path has ${proof.length} hashes, fewer than a tree of ${size} leaves needs`);
  if (!same(value, root)) wrong("the path leads to another root");
}

// -- keys and signatures ------------------------------------------------------------------------------------------

const LOG_KEY = 1;
const WITNESS_KEY = 4;
const BLANK = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
const CONTROL = /[\x00-\x09\x0b-\x1f]/;

const isKeyName = (name) =>
  name !== "" && !name.includes("+") && !BLANK.test(name) && !CONTROL.test(name) && !/[\ud800-\udfff]/u.test(name);

async function parseKey(vkey) {
  const wrong = (message) => refuse("vkey-invalid", message);
  const [name, id, ...rest] = vkey.split("+");
  if (id === undefined || !rest.length) wrong("a vkey has three parts joined by '+'");
  const data = fromBase64(rest.join("+"), "vkey-invalid");
  if (!data.length) wrong("the vkey holds no key");
  const [type, key] = [data[0], data.subarray(1)];
  if (!isKeyName(name)) wrong("the key name is empty or contains white space, a control byte or '+'");
  if (type !== LOG_KEY && type !== WITNESS_KEY) wrong(`key type ${type} is not known here`);
  if (key.length !== 32) wrong(`the public key has ${key.length} bytes instead of 32`);
  const own = hex((await sha256(concat(utf8.encode(`${name}\n`), data))).subarray(0, 4));
  if (id !== own) wrong(`key id '${id}' does not belong to this name and key`);
  return { name, id, type, key };
}

// Browsers without Ed25519 in WebCrypto use the vendored library; RFC 8032 test 1 says which this one is.
const TEST_KEY = fromHex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
const TEST_SIGNATURE = fromHex(
  "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
);

async function byBrowser(key, signature, message) {
  const imported = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify({ name: "Ed25519" }, imported, signature, message);
}

async function byLibrary(key, signature, message) {
  try {
    return await noble.verifyAsync(signature, message, key, { zip215: false });
  } catch {
    return false;
  }
}

let knowsEd25519 = null;

async function verifyEd25519(key, signature, message) {
  if (signature.length !== 64) return false;
  knowsEd25519 ??= await byBrowser(TEST_KEY, TEST_SIGNATURE, new Uint8Array()).catch(() => false);
  return knowsEd25519
    ? byBrowser(key, signature, message).catch(() => false)
    : byLibrary(key, signature, message);
}

async function holds(key, text, signature) {
  if (key.type === LOG_KEY) return verifyEd25519(key.key, signature, text);
  if (signature.length !== 72) return false;
  const time = new DataView(signature.buffer, signature.byteOffset).getBigUint64(0);
  if (time === 0n || time >= 1n << 63n) return false;
  const message = concat(utf8.encode(`cosignature/v1\ntime ${time}\n`), text);
  return verifyEd25519(key.key, signature.subarray(8), message);
}

const timeOf = (line) => new DataView(line.data.buffer, line.data.byteOffset).getBigUint64(0);

// -- signed notes and checkpoints -----------------------------------------------------------------------------------

function parseNote(data) {
  const wrong = (message) => refuse("note-malformed", message);
  if (data.length > 1_000_000) wrong(`the note has ${data.length} bytes, more than 1000000`);
  const whole = text8(data, "note-malformed", "the note is not UTF-8");
  if (CONTROL.test(whole)) wrong("the note contains a control byte other than a newline");
  const end = whole.lastIndexOf("\n\n");
  if (end < 0) wrong("no blank line separates the text from its signatures");
  const block = whole.slice(end + 2);
  if (!block.endsWith("\n")) wrong("there is no signature line, or the last one does not end with a newline");
  const lines = block.slice(0, -1).split("\n");
  if (lines.length > 100) wrong(`the note has ${lines.length} signature lines, more than 100`);
  const signatures = lines.map((line) => {
    if (!line.startsWith("\u2014 ")) wrong("a signature line starts with an em dash and a space");
    const [name, ...rest] = line.slice(2).split(" ");
    if (!isKeyName(name)) wrong("the key name is empty or contains white space or '+'");
    const data = fromBase64(rest.join(" "), "note-malformed");
    if (data.length <= 4) wrong("the line holds no signature");
    return { name, id: hex(data.subarray(0, 4)), data: data.slice(4) };
  });
  return { text: whole.slice(0, end + 1), signatures };
}

async function openNote(data, keys) {
  const note = parseNote(data);
  const pair = (each) => `${each.name}+${each.id}`;
  const trusted = new Map();
  for (const key of keys) {
    if (trusted.has(pair(key))) refuse("note-keys-ambiguous", `two trusted keys share the name ${pair(key)}`);
    trusted.set(pair(key), key);
  }
  const text = utf8.encode(note.text);
  const verified = new Map();
  for (const line of note.signatures) {
    if (!trusted.has(pair(line)) || verified.has(pair(line))) continue;
    if (!(await holds(trusted.get(pair(line)), text, line.data))) {
      refuse("note-signature-invalid", `the signature of ${line.name} does not fit the text`);
    }
    verified.set(pair(line), line);
  }
  if (!verified.size) refuse("note-not-trusted", "no trusted key signed this note");
  return { text: note.text, verified };
}

function parseCheckpoint(text) {
  const wrong = (message) => refuse("checkpoint-invalid", message);
  if (!text.endsWith("\n")) wrong("the text does not end with a newline");
  const [origin, decimal, base64, ...more] = text.slice(0, -1).split("\n");
  if (base64 === undefined) wrong("there are fewer lines than origin, size and root");
  const size = fromDecimal(decimal, "checkpoint-invalid");
  const root = fromBase64(base64, "checkpoint-invalid");
  if (!origin || /[\x00-\x1f]/.test(origin)) wrong("the origin is empty or contains a control byte");
  if (root.length !== HASH_BYTES) wrong(`the root has ${root.length} bytes instead of 32`);
  if (size === 0n && hex(root) !== FIXED.empty_root) wrong("a log without entries has the root of the empty tree");
  if (more.some((line) => !line || /[\x00-\x1f]/.test(line))) wrong("an extension line is empty");
  return { origin, size, root };
}

// -- the proof file (C2SP tlog-proof) -----------------------------------------------------------------------------

function parseProof(data) {
  const code = "tlog-proof-invalid";
  if (data.length > 3_000_000) refuse(code, `the file has ${data.length} bytes, more than 3000000`);
  let end = data.findIndex((value, i) => value === 10 && data[i + 1] === 10);
  if (end < 0) refuse(code, "no blank line separates the path from the checkpoint");
  const head = data.subarray(0, end);
  if (head.some((value) => value > 127)) refuse(code, "the part above the blank line is not ASCII");
  const lines = latin1(head).split("\n");
  if (lines.shift() !== "c2sp.org/tlog-proof@v1") refuse(code, "the first line is not c2sp.org/tlog-proof@v1");
  let extra = null;
  if (lines[0]?.startsWith("extra ")) extra = fromBase64(lines.shift().slice(6), code);
  if (!lines[0]?.startsWith("index ")) refuse(code, "there is no index line where it belongs");
  const index = fromDecimal(lines.shift().slice(6), code);
  const path = lines.map((line) => fromBase64(line, code));
  if (path.length > 63 || path.some((hash) => hash.length !== HASH_BYTES)) {
    refuse(code, "the path has more than 63 hashes, or one that is not 32 bytes long");
  }
  if (extra !== null && extra.length > 1_000_000) refuse(code, "the extra line holds more than 1000000 bytes");
  const checkpoint = data.slice(end + 2);
  const said = parseCheckpoint(parseNote(checkpoint).text);
  if (index >= said.size) refuse(code, `index ${index} is not in a tree of ${said.size} entries`);
  return { index, path, checkpoint, extra, origin: said.origin };
}

// -- the record and its evidence ----------------------------------------------------------------------------------

const INT64 = 1n << 63n;

function microseconds(text) {
  const found = /^([1-9]\d{3})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{6})Z$/.exec(text);
  if (found === null) throw new Error(`time ${text}`);
  const [year, month, day, hour, minute, second] = found.slice(1, 7).map(Number);
  return BigInt(milliseconds(year, month, day, hour, minute, second)) * 1000n + BigInt(found[7]);
}

function milliseconds(year, month, day, hour = 0, minute = 0, second = 0) {
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second, 0);
  const said = [year, month - 1, day, hour, minute, second];
  const is = [
    ...[date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()],
    ...[date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()],
  ];
  if (said.some((value, i) => value !== is[i])) throw new Error("no such moment");
  return date.getTime();
}

// The fixed layout of a record, from its JSON members; anything that Python would not lay out is refused.
async function layOut(record) {
  const malformed = (what) => refuse("record-malformed", `the record cannot be read: ${what}`);
  if (record === null || typeof record !== "object" || Array.isArray(record)) malformed("it is no object");
  const names = Object.keys(record).sort();
  if (canonical(names) !== canonical([...FIXED.members].sort())) malformed("its members");
  const bits = (name) => {
    const value = record[name];
    if (value === null) return new Uint8Array(16);
    if (typeof value !== "string" || !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(value)) malformed(name);
    return fromHex(value.replaceAll("-", ""));
  };
  const whole = (value, what) => {
    if (!isWhole(value) || BigInt(value) >= INT64 || BigInt(value) < -INT64) malformed(what);
    return BigInt(value);
  };
  const text = (name, optional = false) => {
    const value = record[name];
    if ((!optional || value !== null) && (typeof value !== "string" || /[\ud800-\udfff]/u.test(value))) malformed(name);
    return value;
  };
  const number = (table, name) => (Object.hasOwn(table, record[name]) ? table[record[name]] : malformed(name));
  const time = (name) => {
    try {
      return microseconds(record[name]);
    } catch {
      return malformed(name);
    }
  };
  if (record.inputs === null || typeof record.inputs !== "object" || Array.isArray(record.inputs)) malformed("inputs");
  if (!Object.keys(record.inputs).every((name) => FIXED.inputs.includes(name))) malformed("inputs");
  if (record.plan !== null && !(isHex(record.plan) && record.plan.length === 64)) malformed("plan");
  for (const name of ["action_id", "account", "child"]) if (record[name] === null) malformed(name);
  for (const name of ["kind", "outcome", "evidence"]) text(name);
  const context = {
    behaviour: text("behaviour"),
    partner: text("partner"),
    region: text("region"),
    variant: text("variant", true),
  };
  const day = /^(\d{4})-(\d\d)-(\d\d)$/.exec(text("day"));
  let days = null;
  try {
    days = milliseconds(...day.slice(1).map(Number)) / 86_400_000;
  } catch {
    malformed("day");
  }
  if (day[1] === "0000") malformed("day");

  const bytes = new Uint8Array(FIXED.layout_bytes);
  const view = new DataView(bytes.buffer);
  let at = 0;
  const put = (part) => {
    bytes.set(part, at);
    at += part.length;
  };
  const put64 = (value) => {
    view.setBigInt64(at, value);
    at += 8;
  };
  put([FIXED.layout_version, number(FIXED.kinds, "kind"), number(FIXED.outcomes, "outcome")]);
  put([number(FIXED.evidence, "evidence")]);
  const absent = (name) =>
    FIXED.inputs.includes(name) ? !Object.hasOwn(record.inputs, name) : record[name] === null;
  view.setUint32(at, FIXED.optional.reduce((mask, name, i) => (absent(name) ? mask + 2 ** i : mask), 0));
  at += 4;
  for (const name of ["action_id", "account", "child", "group_id", "claim", "withdraws", "related"]) put(bits(name));
  put(await sha256(utf8.encode(canonical(context))));
  put(record.plan === null ? new Uint8Array(32) : fromHex(record.plan));
  put64(record.started === null ? 0n : time("started"));
  put64(time("ended"));
  view.setInt32(at, days);
  at += 4;
  for (const name of FIXED.inputs) put64(absent(name) ? 0n : whole(record.inputs[name], name));
  put64(record.quantified_mg === null ? 0n : whole(record.quantified_mg, "quantified_mg"));
  put64(whole(record.granted_mg, "granted_mg"));
  put64(whole(record.reversed_mg, "reversed_mg"));
  if (at !== bytes.length) throw new Error("the layout of this page is not that of the records");
  return bytes;
}

// The extra line, byte for byte as receipts are written.
async function parseEvidence(data) {
  const wrong = (message) => refuse("receipt-malformed", `the receipt cannot be read: ${message}`);
  const text = text8(data, "receipt-malformed", "the receipt cannot be read: it is not UTF-8");
  let members = null;
  try {
    members = JSON.parse(text);
  } catch (error) {
    wrong(error.message);
  }
  if (members === null || typeof members !== "object" || members.format !== FIXED.receipt_format) wrong("its format");
  for (const name of ["record", "salt", "index", "path", "manifest", "plan"]) {
    if (!Object.hasOwn(members, name)) wrong(`no member ${name}`);
  }
  const { format, record, salt, index, path, manifest, plan } = members;
  const layout = await layOut(record);
  if (!isHex(salt) || !isWhole(index) || !Array.isArray(path) || !path.every(isHex)) wrong("salt, index or path");
  if (typeof manifest !== "string" || (plan !== null && typeof plan !== "string")) wrong("manifest or plan");
  if (/[\ud800-\udfff]/u.test(manifest + (plan ?? ""))) wrong("half a character");
  if (canonical({ format, record, salt, index, path, manifest, plan }) !== text) {
    wrong("it is not written as receipts are");
  }
  return { record, layout, salt: fromHex(salt), index: BigInt(index), path: path.map(fromHex), manifest, plan };
}

function parseManifest(text) {
  const wrong = (message) => refuse("receipt-manifest", `the manifest cannot be read: ${message}`);
  let manifest = null;
  try {
    manifest = JSON.parse(text);
  } catch (error) {
    wrong(error.message);
  }
  if (manifest === null || typeof manifest !== "object" || manifest.format !== FIXED.manifest_format) wrong("its format");
  if (!isWhole(manifest.records) || !isHex(manifest.root) || !Object.hasOwn(manifest, "batch")) wrong("its members");
  return manifest;
}

// -- the plan: formula and exact arithmetic -----------------------------------------------------------------------

const gcd = (a, b) => {
  while (b) [a, b] = [b, a % b];
  return a < 0n ? -a : a;
};

class Fraction {
  constructor(top, bottom = 1n) {
    if (bottom === 0n) throw new Error("division by zero");
    const divisor = (bottom < 0n ? -1n : 1n) * (gcd(top, bottom) || 1n);
    this.top = top / divisor;
    this.bottom = bottom / divisor;
  }

  static parse(text) {
    const found = /^(-?\d+)(?:\/(\d+)|\.(\d+))?$/.exec(text);
    if (found === null) throw new Error(`number ${text}`);
    const [, whole, bottom, digits] = found;
    if (digits === undefined) return new Fraction(BigInt(whole), BigInt(bottom ?? 1));
    return new Fraction(BigInt(whole + digits), 10n ** BigInt(digits.length));
  }

  plus(other) {
    return new Fraction(this.top * other.bottom + other.top * this.bottom, this.bottom * other.bottom);
  }

  minus(other) {
    return new Fraction(this.top * other.bottom - other.top * this.bottom, this.bottom * other.bottom);
  }

  times(other) {
    return new Fraction(this.top * other.top, this.bottom * other.bottom);
  }

  by(other) {
    return new Fraction(this.top * other.bottom, this.bottom * other.top);
  }

  compare(other) {
    const [left, right] = [this.top * other.bottom, other.top * this.bottom];
    return left < right ? -1 : left > right ? 1 : 0;
  }

  floor() {
    const whole = this.top / this.bottom;
    return this.top < 0n && whole * this.bottom !== this.top ? whole - 1n : whole;
  }

  ceil() {
    return -new Fraction(-this.top, this.bottom).floor();
  }
}

const COMPARISONS = {
  "<": (order) => order < 0,
  "<=": (order) => order <= 0,
  ">": (order) => order > 0,
  ">=": (order) => order >= 0,
  "==": (order) => order === 0,
  "!=": (order) => order !== 0,
};
const TOKEN = /\s*(?:(\d+\.?\d*|\.\d+)|([\p{L}_][\p{L}\p{N}_]*)|(<=|>=|==|!=|[-+*/(),<>]))/uy;
const LOOKALIKES = { "×": "*", "÷": "/", "−": "-", "–": "-", "（": "(", "）": ")", "，": "," };
const WORDS = new Set(["if", "else", "and", "or", "not"]);

// The formula language of methodologies, as functions of the values of its names. Conditions and quantities are kept
// apart while reading, as in core/formula.py.
class FormulaReader {
  constructor(text) {
    this.names = new Set();
    this.tokens = [];
    const source = text.replace(/[×÷−–（），]/g, (found) => LOOKALIKES[found]).trim();
    TOKEN.lastIndex = 0;
    while (TOKEN.lastIndex < source.length) {
      const found = TOKEN.exec(source);
      if (found === null) this.fail("a part is not of the language");
      const [, number, name, sign] = found;
      if (number !== undefined && /^0\d/.test(number) && /^\d+$/.test(number) && !/^0+$/.test(number)) {
        this.fail("a number begins with a zero");
      }
      this.tokens.push(
        number !== undefined ? { number } : name !== undefined && !WORDS.has(name) ? { name } : { sign: sign ?? name },
      );
    }
    this.at = 0;
  }

  fail(message) {
    refuse("formula-malformed", message);
  }

  is(...signs) {
    return signs.includes(this.tokens[this.at]?.sign);
  }

  take(...signs) {
    return this.is(...signs) ? this.tokens[this.at++].sign : null;
  }

  want(sign) {
    if (this.take(sign) === null) this.fail(`'${sign}' is missing`);
  }

  quantity(part) {
    if (part.condition) this.fail("a condition stands where a quantity is needed");
    return part.value;
  }

  condition(part) {
    if (!part.condition) this.fail("a quantity stands where a condition is needed");
    return part.value;
  }

  read() {
    const whole = this.choice();
    if (this.at !== this.tokens.length) this.fail("something is left over");
    return whole;
  }

  choice() {
    const first = this.any();
    if (this.take("if") === null) return first;
    const [then, test] = [this.quantity(first), this.condition(this.any())];
    this.want("else");
    const otherwise = this.quantity(this.choice());
    return { value: (values) => (test(values) ? then(values) : otherwise(values)) };
  }

  any() {
    return this.logic("or", () => this.every(), (items) => items.some(Boolean));
  }

  every() {
    return this.logic("and", () => this.negation(), (items) => items.every(Boolean));
  }

  logic(word, next, combine) {
    const parts = [next()];
    while (this.take(word) !== null) parts.push(next());
    if (parts.length === 1) return parts[0];
    const items = parts.map((part) => this.condition(part));
    return { condition: true, value: (values) => combine(items.map((item) => item(values))) };
  }

  negation() {
    if (this.take("not") === null) return this.comparison();
    const item = this.condition(this.negation());
    return { condition: true, value: (values) => !item(values) };
  }

  comparison() {
    const first = this.sum();
    const sign = this.take(...Object.keys(COMPARISONS));
    if (sign === null) return first;
    const [left, right] = [this.quantity(first), this.quantity(this.sum())];
    if (this.is(...Object.keys(COMPARISONS))) this.fail("comparisons are not chained");
    return { condition: true, value: (values) => COMPARISONS[sign](left(values).compare(right(values))) };
  }

  sum() {
    return this.chain(() => this.product(), { "+": "plus", "-": "minus" });
  }

  product() {
    return this.chain(() => this.sign(), { "*": "times", "/": "by" });
  }

  chain(next, operators) {
    let part = next();
    for (let sign = this.take(...Object.keys(operators)); sign; sign = this.take(...Object.keys(operators))) {
      const [left, right, operator] = [this.quantity(part), this.quantity(next()), operators[sign]];
      part = { value: (values) => left(values)[operator](right(values)) };
    }
    return part;
  }

  sign() {
    if (this.take("-") === null) return this.atom();
    const operand = this.quantity(this.sign());
    return { value: (values) => new Fraction(0n).minus(operand(values)) };
  }

  atom() {
    if (this.take("(") !== null) {
      const inner = this.choice();
      this.want(")");
      return inner;
    }
    const token = this.tokens[this.at++] ?? {};
    if (token.number !== undefined) {
      const number = Fraction.parse(token.number.replace(/^\./, "0.").replace(/\.$/, ""));
      return { value: () => number };
    }
    if (token.name === undefined || ["True", "False", "None"].includes(token.name)) this.fail("a value is missing");
    if (this.is("(")) return this.extreme(token.name);
    this.names.add(token.name);
    return { value: (values) => values.get(token.name) };
  }

  extreme(name) {
    if (name !== "min" && name !== "max") this.fail(`'${name}' is no function of the language`);
    this.want("(");
    const items = [this.quantity(this.choice())];
    while (this.take(",") !== null && !this.is(")")) items.push(this.quantity(this.choice()));
    this.want(")");
    if (items.length < 2) this.fail("min and max take two or more");
    const wanted = name === "min" ? -1 : 1;
    const pick = (left, right) => (right.compare(left) === wanted ? right : left);
    return { value: (values) => items.map((item) => item(values)).reduce(pick) };
  }
}

function readRecipe(document) {
  const wrong = (message) => refuse("plan-malformed", `the plan document cannot be read: ${message}`);
  try {
    const data = JSON.parse(document);
    if (data.format !== FIXED.plan_format) refuse("plan-format-unknown", `a plan document of format '${data.format}'`);
    const reader = new FormulaReader(data.formula);
    const formula = reader.read();
    if (formula.condition) wrong("its formula is a condition");
    const parameters = new Map(
      Object.entries(data.parameters).map(([name, entry]) => [name, Fraction.parse(entry.value)]),
    );
    const discount = Fraction.parse(data.discount);
    return { data, formula: formula.value, names: reader.names, parameters, discount };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    return wrong(error.message);
  }
}

function compute(recipe, inputs) {
  const values = new Map(recipe.parameters);
  for (const name of recipe.names) {
    if (recipe.parameters.has(name)) continue;
    if (!Object.hasOwn(inputs, name)) throw new Error(`no input ${name}`);
    values.set(name, new Fraction(BigInt(inputs[name])));
  }
  const exact = recipe.formula(values).times(recipe.discount);
  const mg = recipe.data.rounding === "down" ? exact.floor() : exact.ceil();
  if (mg >= INT64) throw new Error("the result is too large");
  return mg;
}

async function checkPlan(record, document) {
  if (record.plan === null) {
    if (document !== null) refuse("receipt-plan", "the receipt carries a plan and the record names none");
    return null;
  }
  if (document === null || hex(await sha256(utf8.encode(document))) !== record.plan) {
    refuse("receipt-plan", "the plan in the receipt is not the one the record names");
  }
  const recipe = readRecipe(document);
  const methodology = `${recipe.data.methodology}@${recipe.data.version}`;
  let amount = null;
  try {
    amount = compute(recipe, record.inputs);
  } catch {
    refuse("receipt-amount", "the record's inputs do not fit its methodology");
  }
  if (record.quantified_mg === null || amount !== BigInt(record.quantified_mg)) {
    refuse("receipt-amount", `${methodology} gives ${amount} mg, the record says ${record.quantified_mg}`);
  }
  return { ...recipe.data, key: methodology, amount };
}

// -- witness policies (C2SP tlog-policy) --------------------------------------------------------------------------

// Names are bytes: the text is read one character a byte, and only what is a key or shown becomes UTF-8.
async function parsePolicy(data) {
  if (data.length > 1_000_000 || data.some((value) => (value < 32 && value !== 9 && value !== 10) || value === 127)) {
    refuse("policy-invalid", "the file holds a control byte, or is larger than a megabyte");
  }
  const policy = { logs: [], witnesses: new Map(), groups: new Map(), quorum: null };
  const [members, keys] = [new Set(), new Set()];
  const wrong = (message) => refuse("policy-invalid", message);
  const keyOf = async (text, type, role) => {
    const key = await parseKey(text8(fromLatin1(text), "policy-invalid", "a key is not UTF-8"));
    if (key.type !== type) wrong(`a ${role}'s key has type ${type}, this one ${key.type}`);
    const known = `${role} ${hex(key.key)}`;
    if (keys.has(known)) wrong("the same public key is listed twice");
    keys.add(known);
    return key;
  };
  const checkNew = (name) => {
    if (name === "none" || policy.witnesses.has(name) || policy.groups.has(name)) wrong(`the name '${name}' is taken`);
  };
  const checkKnown = (name) => {
    if (!policy.witnesses.has(name) && !policy.groups.has(name)) wrong(`'${name}' is not defined on a line further up`);
  };
  const readLine = async (words) => {
    const [kind, ...rest] = words;
    if (kind === "log" && (rest.length === 1 || rest.length === 2)) {
      policy.logs.push(await keyOf(rest[0], LOG_KEY, "log"));
    } else if (kind === "witness" && (rest.length === 2 || rest.length === 3)) {
      checkNew(rest[0]);
      policy.witnesses.set(rest[0], await keyOf(rest[1], WITNESS_KEY, "witness"));
    } else if (kind === "group" && rest.length >= 3) {
      const [name, threshold, ...parts] = rest;
      checkNew(name);
      parts.forEach(checkKnown);
      if (new Set(parts).size < parts.length || parts.some((part) => members.has(part))) {
        wrong("a member is in a group already");
      }
      const needed = { any: "1", all: String(parts.length) }[threshold] ?? threshold;
      if (!/^[1-9][0-9]{0,8}$/.test(needed) || Number(needed) > parts.length) {
        wrong(`'${threshold}' is not any, all or a number from 1 to ${parts.length}`);
      }
      parts.forEach((part) => members.add(part));
      policy.groups.set(name, { threshold: Number(needed), parts });
    } else if (kind === "quorum" && rest.length === 1) {
      if (policy.quorum !== null) wrong("there is a second quorum line");
      if (rest[0] !== "none") checkKnown(rest[0]);
      policy.quorum = rest[0];
    } else {
      wrong(`'${kind}' with ${rest.length} words is no line of a policy`);
    }
  };
  const lines = latin1(data).split("\n");
  for (let number = 1; number <= lines.length; number++) {
    const line = lines[number - 1].replace(/^[ \t]+|[ \t]+$/g, "");
    if (line === "" || line.startsWith("#")) continue;
    try {
      await readLine(line.split(/[ \t]+/));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      refuse("policy-invalid", `line ${number}: ${error.message}`);
    }
  }
  if (policy.quorum === null) wrong("there is no quorum line");
  return policy;
}

function isMet(policy, verified) {
  const signed = (name) => {
    const group = policy.groups.get(name);
    if (group !== undefined) return group.parts.filter(signed).length >= group.threshold;
    const key = policy.witnesses.get(name);
    return verified.has(`${key.name}+${key.id}`);
  };
  return policy.quorum === "none" || signed(policy.quorum);
}

// -- the whole receipt --------------------------------------------------------------------------------------------

// Which key the log must have signed with: the one given, or the policy's for the origin that the receipt names.
async function logKey(vkey, policy, origin) {
  const listed = (name) => policy?.logs.find((key) => key.name === name);
  if (!vkey) {
    if (policy === null) refuse("usage", "neither a key nor a policy is given");
    return listed(origin) ?? refuse("log-not-in-policy", `the policy lists no log '${origin}'`);
  }
  const key = await parseKey(vkey);
  if (policy?.logs.length && listed(key.name)?.id !== key.id) {
    refuse("log-not-in-policy", `the policy does not list the key ${key.name}+${key.id}`);
  }
  return key;
}

// Checks bytes of a receipt; ``vkey`` is a text or "", ``policyBytes`` the bytes of a policy or null. ``reached`` is
// called with the name of each step that is begun: trust, file, record, log, witnesses, amount.
async function verifyReceipt(data, vkey, policyBytes, reached = () => {}) {
  reached("file");
  const proof = parseProof(data);
  reached("trust");
  const policy = policyBytes === null ? null : await parsePolicy(policyBytes);
  const log = await logKey(vkey.trim(), policy, proof.origin);
  reached("record");
  if (proof.extra === null) refuse("receipt-malformed", "the proof carries no record");
  const evidence = await parseEvidence(proof.extra);
  const manifest = parseManifest(evidence.manifest);
  const leaf = await leafHash(concat(evidence.salt, evidence.layout));
  await verifyInclusion(evidence.index, BigInt(manifest.records), leaf, evidence.path, fromHex(manifest.root));
  reached("log");
  const note = await openNote(proof.checkpoint, [log, ...(policy?.witnesses.values() ?? [])]);
  if (!note.verified.has(`${log.name}+${log.id}`)) {
    refuse("note-not-trusted", `${log.name} did not sign this checkpoint, only witnesses did`);
  }
  const checkpoint = parseCheckpoint(note.text);
  if (checkpoint.origin !== log.name) {
    refuse("checkpoint-of-another-log", `the checkpoint is of '${checkpoint.origin}', not of '${log.name}'`);
  }
  const entry = await leafHash(utf8.encode(evidence.manifest));
  await verifyInclusion(proof.index, checkpoint.size, entry, proof.path, checkpoint.root);
  reached("witnesses");
  if (policy !== null && !isMet(policy, note.verified)) {
    refuse("witness-quorum-missing", `the quorum ${policy.quorum} is not met`);
  }
  reached("amount");
  const plan = await checkPlan(evidence.record, evidence.plan);
  note.verified.delete(`${log.name}+${log.id}`);
  return {
    record: evidence.record,
    place: evidence.index,
    manifest,
    plan,
    entry: proof.index,
    checkpoint,
    quorum: policy?.quorum ?? null,
    cosigned: [...note.verified.values()].map((line) => ({ witness: line.name, time: timeOf(line) })),
  };
}

// The amount of a plan document for inputs, or the code with which it is refused.
function quantify(document, inputs) {
  try {
    const recipe = readRecipe(document);
    try {
      return String(compute(recipe, inputs));
    } catch {
      return "no amount";
    }
  } catch (error) {
    return error.code;
  }
}
