// Certificates of retirements, as tanzhang.core.retirement checks them beside their signature, with the same codes: both the
// retirement and its lot are proved to be in the log, and what the certificate says of them is what the log has.

const unproved = (message) => refuse("retirement-unproved", message);
const SERIAL = /^TZ1-CN(\d{6})-([A-Z0-9]{1,24})-([LX]\d{6,10})-([1-9]\d{3})-([TK])-([1-9]\d{0,9})-([1-9]\d{0,9})-(\d{2})$/;
const PLACES = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-";
const UNIT_MASS = { T: 1_000_000_000n, K: 1_000_000n };

function parseSerial(text) {
  const wrong = (message) => refuse("retirement-proof-malformed", message);
  const found = typeof text === "string" ? SERIAL.exec(text) : null;
  if (found === null) wrong("a serial number is none");
  const [, region, programme, lot, vintage, unit, first, last, check] = found;
  const body = text.slice(0, text.lastIndexOf("-"));
  const number = BigInt([...body].map((each) => PLACES.indexOf(each)).join(""));
  if (98n - ((100n * number) % 97n) !== BigInt(check)) wrong("the check digits of a serial number are wrong");
  if (BigInt(first) > BigInt(last)) wrong("a serial number ends before it begins");
  const place = region === "000000" ? "CN" : `CN-${region}`;
  return { region: place, programme, lot, vintage, unit, lo: BigInt(first) - 1n, hi: BigInt(last) };
}

// The checkpoint that a proof in the log leads to, from the bytes of its entry.
async function inLog(proof, entry, log) {
  const note = await openNote(proof.checkpoint, [log]);
  const checkpoint = parseCheckpoint(note.text);
  if (checkpoint.origin !== log.name) {
    refuse("checkpoint-of-another-log", `the checkpoint is of '${checkpoint.origin}', not of '${log.name}'`);
  }
  await verifyInclusion(proof.index, checkpoint.size, await leafHash(utf8.encode(entry)), proof.path, checkpoint.root);
}

const oneOf = (document, kind) => {
  const found = document.evidence.filter((each) => isObject(each) && each.type === kind);
  if (found.length !== 1 || typeof found[0].proof !== "string") unproved(`it carries no ${kind}, or several`);
  return found[0];
};

const readEntry = (text, format, code) => {
  let said;
  try {
    said = JSON.parse(text);
  } catch {
    said = null;
  }
  if (!isObject(said) || canonical(said) !== text || said.format !== format) refuse(code, "an entry or proof cannot be read");
  return said;
};

// The row of the log that a proof of a retirement shows, and the programme of its entry.
async function openRetirement(text, log) {
  const code = "retirement-proof-malformed";
  const proof = parseProof(utf8.encode(text));
  if (!proof.extra) refuse(code, "the file carries no retirement");
  const said = readEntry(text8(proof.extra, code, "it is not UTF-8"), FIXED.retirement_proof, code);
  const entry = readEntry(said.entry, FIXED.retirements, code);
  const row = said.retirement;
  const numbers = [said.index, entry.first, entry.rows, row?.units];
  if (!isObject(row) || !Array.isArray(row.serials) || !row.serials.length || !isHex(entry.root) ||
      !Array.isArray(said.path) || !said.path.every(isHex) || !numbers.every(isWhole)) {
    refuse(code, "an entry or proof cannot be read");
  }
  const path = said.path.map(fromHex);
  const leaf = await leafHash(utf8.encode(canonical(row)));
  await verifyInclusion(BigInt(said.index), BigInt(entry.rows) - BigInt(entry.first), leaf, path, fromHex(entry.root));
  const parsed = row.serials.map(parseSerial);
  const total = entry.totals?.[parsed[0].lot]?.[`units:${parsed[0].unit}`];
  if (!isWhole(total) || BigInt(total) < BigInt(row.units)) refuse(code, "the entry's total is less than the retirement");
  await inLog(proof, said.entry, log);
  return { row, parsed, programme: entry.programme };
}

// An entry that a certificate carries, once it is proved to be in the log.
async function carried(evidence, log) {
  if (typeof evidence.entry !== "string") unproved("it carries a proof without its entry");
  const proof = parseProof(utf8.encode(evidence.proof));
  await inLog(proof, evidence.entry, log);
  return proof;
}

async function checkLot(document, subject, serial, end, log) {
  const said = subject.lot;
  if (!isObject(said) || said.number !== serial.lot) unproved("the lot is not that of the serial numbers");
  if (said.registry !== undefined) return; // units of another registry have no lot of ours
  const lotEvidence = oneOf(document, "LotInclusion");
  const proof = await carried(lotEvidence, log);
  const lot = readEntry(lotEvidence.entry, FIXED.lot, "lot-proof-malformed");
  const issueEvidence = oneOf(document, "IssueInclusion");
  const issueProof = await carried(issueEvidence, log);
  const issue = readEntry(issueEvidence.entry, FIXED.issue, "retirement-unproved");
  const wanted = { number: lot.lot, root: lot.root, units: lot.units, totalMg: lot.total_mg,
    methodologies: lot.methodologies, entry: String(proof.index), issueEntry: String(issueProof.index) };
  const where = [lot.vintage, lot.region, lot.programme];
  const same = canonical(where) === canonical([serial.vintage, serial.region, subject.programme.id]);
  if (canonical(said) !== canonical(wanted) || !same || BigInt(lot.unit_mass_mg) !== UNIT_MASS[serial.unit] ||
      end > BigInt(lot.units)) {
    unproved("what it says of the lot is not what the log has");
  }
  if (canonical([issue.programme, issue.lot, issue.units]) !== canonical([lot.programme, lot.lot, lot.units])) {
    unproved("the log's entry of the issue is not of this lot");
  }
}

// ``opening`` of a silent retirement is not asked for here: the page says that the beneficiary is a commitment.
async function checkRetirement(document, log) {
  const subject = document.credentialSubject;
  const { row, parsed, programme } = await openRetirement(oneOf(document, "RetirementInclusion").proof, log);
  const first = parsed[0];
  const mass = UNIT_MASS[first.unit];
  const count = parsed.reduce((sum, each) => sum + each.hi - each.lo, 0n);
  const ends = parsed.flatMap((each) => [each.lo, each.hi]);
  const alike = parsed.every((each) => [each.lot, each.vintage, each.unit].join() === [first.lot, first.vintage, first.unit].join());
  if (!alike || ends.some((end, i) => i > 0 && ends[i - 1] > end) || count !== BigInt(row.units)) {
    refuse("retirement-proof-malformed", "its serial numbers overlap, or are not so many units of one lot");
  }
  const said = [subject.reference, subject.serials, subject.units, subject.commitment, subject.retiredAt,
    subject.purpose?.code, subject.claimPeriod?.since, subject.claimPeriod?.until, subject.vintage, subject.region,
    subject.unit, subject.massMg, subject.programme.id];
  const wanted = [row.id, row.serials, row.units, row.commitment, row.made_at, row.purpose, row.since, row.until,
    first.vintage, first.region, { letter: first.unit, massMg: String(mass) }, String(count * mass), programme];
  if (said.some((each) => each === undefined) || canonical(said) !== canonical(wanted)) {
    unproved("it says another retirement than the one that the log has");
  }
  await checkLot(document, subject, first, parsed.reduce((most, each) => (each.hi > most ? each.hi : most), 0n), log);
  if (subject.beneficiary !== undefined) {
    if (!isObject(subject.beneficiary)) unproved("the beneficiary is not one");
    const opening = canonical({ format: FIXED.retirement_opening, ...subject.beneficiary });
    if (hex(await sha256(utf8.encode(opening))) !== row.commitment) {
      unproved("the beneficiary is not the one that the log commits to");
    }
  }
}
