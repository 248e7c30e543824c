// Certificates, as tanzhang.core.credential and tanzhang.engine.data_integrity check them, with the same codes. Stricter in
// one thing: a file has to be as it was issued, byte for byte, so that nothing in it can be read in two ways.

const DIGITS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const MOMENT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/;
const malformed = (message) => refuse("credential-malformed", message);
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

// Base58-btc behind its prefix z.
function fromBase58(text, code) {
  if (typeof text !== "string" || text.length > 200 || !/^z[1-9A-HJ-NP-Za-km-z]+$/.test(text)) {
    refuse(code, "this is no base58-btc text with its prefix z");
  }
  let number = 0n;
  for (const digit of text.slice(1)) number = number * 58n + BigInt(DIGITS.indexOf(digit));
  const zeros = text.slice(1).match(/^1*/)[0].length;
  const digits = number === 0n ? "" : number.toString(16);
  return concat(new Uint8Array(zeros), fromHex(digits.length % 2 ? `0${digits}` : digits));
}

// The public key of a did:key: two bytes that say it is of Ed25519, and 32 of the key.
function keyOfDid(did) {
  if (typeof did !== "string" || !did.startsWith("did:key:")) refuse("multibase-malformed", "the issuer is no did:key");
  const data = fromBase58(did.slice(8), "multibase-malformed");
  if (data.length !== 34 || data[0] !== 0xed || data[1] !== 0x01) {
    refuse("multibase-malformed", "the issuer is no public key of Ed25519");
  }
  return data.slice(2);
}

// The signed credential out of a PDF file: the embedded file that our pages have, which is not packed.
function credentialIn(data) {
  if (latin1(data.subarray(0, 5)) !== "%PDF-") return data;
  const text = latin1(data);
  const found = [...text.matchAll(/\/Type \/EmbeddedFile\s*>>\s*stream\r?\n/g)];
  const whole = found.map((each) => {
    const start = each.index + each[0].length;
    const length = /\/Length (\d+)/.exec(text.slice(text.lastIndexOf(" obj", each.index), each.index));
    return length === null ? null : data.slice(start, start + Number(length[1]));
  });
  if (whole.length !== 1 || whole[0] === null) {
    refuse("pdf-no-credential", "the file has no signed credential attached as our pages have it");
  }
  return whole[0];
}

function readCredential(data) {
  if (data.length > 1_000_000) malformed("it has more than 1000000 bytes");
  const text = text8(data, "credential-malformed", "it is not UTF-8");
  let document;
  try {
    document = JSON.parse(text);
    if (canonical(document) !== text) malformed("it is not written as certificates are, byte for byte");
  } catch (error) {
    if (error instanceof Refusal) throw error;
    malformed("it is no JSON");
  }
  const context = JSON.stringify(FIXED.context);
  const { proof, issuer, evidence, type } = isObject(document) ? document : {};
  if (!isObject(proof) || !isObject(issuer) || !Array.isArray(evidence) || !Array.isArray(type)) {
    malformed("it is not written as our certificates are");
  }
  if (JSON.stringify(document["@context"]) !== context || JSON.stringify(proof["@context"]) !== context) {
    malformed("its context is not that of our certificates");
  }
  if (proof.proofPurpose !== "assertionMethod") malformed("its proof is for another purpose");
  const texts = [document.id, issuer.id, document.validFrom, proof.created];
  if (!type.includes("VerifiableCredential") || !isObject(document.credentialSubject) ||
      texts.some((each) => typeof each !== "string")) {
    malformed("a member is not of its type");
  }
  return document;
}

const logProof = (document) => {
  const found = document.evidence.filter((each) => isObject(each) && each.type === FIXED.log_evidence);
  if (found.length !== 1 || typeof found[0].entry !== "string" || typeof found[0].proof !== "string") {
    refuse("credential-issuer-unproved", "it carries no proof that its key is in the log, or several");
  }
  return found[0];
};

async function checkSignature(document) {
  const wrong = (message) => refuse("credential-signature-invalid", message);
  const key = keyOfDid(document.issuer.id);
  const { proof, ...unsecured } = document;
  const { proofValue, ...options } = proof;
  if (proof.verificationMethod !== `${document.issuer.id}#${document.issuer.id.slice(8)}`) {
    wrong("it was signed by somebody who is not its issuer");
  }
  if (proof.type !== "DataIntegrityProof" || proof.cryptosuite !== "eddsa-jcs-2022") wrong("its proof is of another kind");
  const signature = fromBase58(proofValue, "credential-signature-invalid");
  const hashes = await Promise.all([options, unsecured].map((each) => sha256(utf8.encode(canonical(each)))));
  if (!(await verifyEd25519(key, signature, concat(...hashes)))) wrong("the signature does not fit what it says");
  return key;
}

// That the log has an entry with this key: the entry, its place, the checkpoint, and who cosigned.
async function checkIssuer(document, key, log, policy) {
  const { entry, proof } = logProof(document);
  let said;
  try {
    said = JSON.parse(entry);
  } catch {
    said = null;
  }
  if (!isObject(said) || canonical(said) !== entry || said.format !== FIXED.issuer_format ||
      typeof said.rehearsal !== "boolean" || Object.keys(said).length !== 4) {
    refuse("issuer-entry-malformed", "the entry about the issuer cannot be read");
  }
  if (!same(keyOfDid(`did:key:${said.public_key_multibase}`), key)) {
    refuse("credential-issuer-unproved", "the entry of the log is about another key");
  }
  const parsed = parseProof(utf8.encode(proof));
  const note = await openNote(parsed.checkpoint, [log, ...(policy?.witnesses.values() ?? [])]);
  if (!note.verified.has(`${log.name}+${log.id}`)) {
    refuse("note-not-trusted", `${log.name} did not sign this checkpoint, only witnesses did`);
  }
  const checkpoint = parseCheckpoint(note.text);
  if (checkpoint.origin !== log.name) {
    refuse("checkpoint-of-another-log", `the checkpoint is of '${checkpoint.origin}', not of '${log.name}'`);
  }
  await verifyInclusion(parsed.index, checkpoint.size, await leafHash(utf8.encode(entry)), parsed.path, checkpoint.root);
  return { said, place: parsed.index, checkpoint, note };
}

function checkTime(document, now) {
  const moment = (text) => {
    const at = typeof text === "string" && MOMENT.test(text) ? Date.parse(text) : NaN;
    return Number.isNaN(at) ? malformed("a moment in it is none in UTC") : at;
  };
  if (moment(document.validFrom) > now + 300_000) refuse("credential-not-yet-valid", "it is not valid yet");
  if (document.validUntil !== undefined && moment(document.validUntil) <= now) {
    refuse("credential-expired", `it was valid until ${document.validUntil}`);
  }
}

function placeOf(document) {
  const said = document.credentialStatus;
  const address = said?.statusListCredential;
  const place = said?.statusListIndex;
  const wanted = { id: `${address}#${place}`, type: "BitstringStatusListEntry", statusPurpose: "revocation",
    statusListIndex: place, statusListCredential: address };
  if (!isObject(said) || typeof address !== "string" || !/^(?:0|[1-9]\d{0,9})$/.test(place) ||
      canonical(said) !== canonical(wanted)) {
    malformed("its place in a status list cannot be read");
  }
  return { address, place: Number(place) };
}

// The bits of a list; unpacking stops at the length that a list may have.
async function unpacked(text) {
  const wrong = (message) => refuse("status-list-malformed", `the list cannot be read: ${message}`);
  if (typeof text !== "string" || !/^u[A-Za-z0-9_-]+$/.test(text)) wrong("it is no multibase base64url");
  const parts = [];
  let length = 0;
  try {
    const packed = fromLatin1(atob(text.slice(1).replaceAll("-", "+").replaceAll("_", "/")));
    const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip")).getReader();
    for (let part = await reader.read(); !part.done && length <= 1 << 21; part = await reader.read()) {
      parts.push(part.value);
      length += part.value.length;
    }
  } catch {
    wrong("it is cut off, or not packed as lists are");
  }
  if (length < FIXED.places / 8 || length > 1 << 21) wrong("it is too short or too long");
  return concat(...parts);
}

async function checkStatus(data, wanted, issuer, trusted, now) {
  const other = (message) => refuse("credential-status-other", message);
  const document = readCredential(data);
  const key = await checkSignature(document);
  const { said } = await checkIssuer(document, key, trusted.log, trusted.policy);
  try {
    checkTime(document, now);
  } catch (error) {
    if (error.code !== "credential-expired") throw error;
    refuse("credential-status-outdated", "the status list is too old");
  }
  const subject = document.credentialSubject;
  const isList = document.type.includes("BitstringStatusListCredential") && subject.type === "BitstringStatusList";
  const ours = said.programme === issuer.programme && said.rehearsal === issuer.rehearsal;
  if (!isList || !ours || document.id !== wanted.address) other("this is not the status list that the certificate names");
  if (subject.statusPurpose !== "revocation") other("this list is not about revocation");
  const bits = await unpacked(subject.encodedList);
  if (wanted.place >= bits.length * 8) refuse("status-place-unknown", "the list has no such place");
  if (bits[wanted.place >> 3] & (0x80 >> (wanted.place & 7))) {
    refuse("credential-revoked", `it was revoked, as of ${document.validFrom}`);
  }
  return document.validFrom;
}

// Checks bytes of a certificate, JSON or PDF; ``status`` is null or the bytes of its status list, ``now`` milliseconds.
// ``reached`` is called with each step that is begun: file, trust, signature, issuer, witnesses, status.
async function verifyCertificate(file, vkey, policyBytes, status = null, now = Date.now(), reached = () => {}) {
  reached("file");
  const data = credentialIn(file);
  const document = readCredential(data);
  reached("trust");
  const policy = policyBytes === null ? null : await parsePolicy(policyBytes);
  const origin = vkey.trim() ? null : parseProof(utf8.encode(logProof(document).proof)).origin;
  const log = await logKey(vkey.trim(), policy, origin);
  reached("signature");
  const key = await checkSignature(document);
  reached("issuer");
  const { said, place, checkpoint, note } = await checkIssuer(document, key, log, policy);
  reached("witnesses");
  if (policy !== null && !isMet(policy, note.verified)) {
    refuse("witness-quorum-missing", `the quorum ${policy.quorum} is not met`);
  }
  reached("issuer");
  checkTime(document, now);
  const kind = Object.keys(FIXED.credential_types).find((name) => document.type.includes(FIXED.credential_types[name]));
  if (kind === undefined) malformed("its types are no certificate of ours");
  const programme = document.credentialSubject.programme;
  if (!isObject(programme) || programme.id !== said.programme || programme.rehearsal !== said.rehearsal) {
    refuse("credential-issuer-unproved", "it is of another programme than the key that signed it");
  }
  if (kind === "retirement") await checkRetirement(document, log);
  reached("status");
  const wanted = placeOf(document);
  const statusAt = status === null ? null : await checkStatus(status, wanted, said, { log, policy }, now);
  return {
    document, kind, entry: place, checkpoint, statusAt, statusList: wanted.address, quorum: policy?.quorum ?? null,
    sha256: hex(await sha256(data)),
  };
}
