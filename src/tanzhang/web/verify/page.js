// What the person sees: two languages, one verdict, every check. Texts go in as text, never as markup.

const SAY = {
  zh: {
    title: "核验减排凭证与证书",
    lead: "证明一条碳减排记录确实进入了公开账本，或一份证书确由碳普惠项目签发。核验全部在您的设备上进行。",
    choose: "选择凭证或证书文件",
    drop: "或把文件拖到这里",
    key: "日志公钥",
    keyHint: "一行文字，形如「名称+编号+密钥」。请从运营方之外的渠道取得，不要只用随凭证一起发来的公钥。",
    policy: "见证方策略（可选）",
    policyHint: "写明哪些独立见证方必须签过名。策略里若列有日志，可不填公钥。",
    policyFile: "从文件读入策略",
    status: "证书状态列表（可选）",
    statusHint: "证书是否已被吊销，只有状态列表知道。列表地址在证书内，任何人可下载，一天内有效。",
    statusFile: "从文件读入状态列表",
    statusAt: "状态列表地址",
    other: "这不是二维码所指的那份证书。",
    kinds_of_certificate: { statement: "个人碳账户月度账单", green_credit: "绿色信用证明", donation: "捐赠证书", retirement: "碳普惠减排量注销证书" },
    checked: "逐项核验",
    more: "全部字段",
    offline: "本页不连接任何网络：可以断网使用，也可以保存到本地。",
    trust: "凭证证明记录如此入账、此后未被改动；至于行为是否真的发生，凭证不能代替上报方作证。",
    verified: "核验通过",
    refused: "核验未通过",
    failed: (step) => `核验未通过，问题出在「${step}」`,
    waiting: "还差一项",
    waitingKey: "请填写日志公钥，或给出列有日志的见证方策略。",
    waitingFile: "请选择凭证文件。",
    insecure: "浏览器在此地址不提供密码学功能。请把本页保存到本地打开，或经 https 访问。",
    broken: "本页自身出错，没有得出结论。",
    trustDo: "请核对所填公钥或策略。",
    refusedDo: "请勿依据此文件作判断；请向运营方重新索取凭证，仍不通过时请保留文件作为证据。",
    steps: {
      file: ["文件是一份凭证或证书", "格式完整"],
      trust: ["公钥与策略可用", "按您给出的公钥核验"],
      record: ["记录在所属批次内", (v) => `第 ${v.place} 条（从 0 起），批次 ${v.manifest.batch} 共 ${v.manifest.records} 条`],
      log: ["批次在公开日志内", (v) => `日志 ${v.checkpoint.origin} 第 ${v.entry} 项，日志签名时共 ${v.checkpoint.size} 项`],
      witnesses: ["见证方签名", (v) => (v.quorum === null ? "未给出策略，没有核验" : `满足策略 ${v.quorum}`)],
      signature: ["签名与内容相符", "签名涵盖全部内容"],
      issuer: ["签发密钥在公开日志内", (v) => `日志 ${v.checkpoint.origin} 第 ${v.entry} 项，日志签名时共 ${v.checkpoint.size} 项`],
      status: ["未被吊销", (v) => (v.statusAt === null ? "未给出状态列表，没有核验" : `截至 ${v.statusAt} 未被吊销`)],
      amount: ["减排量按方法学算得", (v) => (v.plan ? `${v.plan.key} 由输入算得 ${v.plan.amount} mg` : "此记录无需计算")],
    },
    notAsked: "没有核验到这一项",
    facts: {
      granted: "记入",
      reversed: "冲回",
      outcome: "结果",
      what: "行为",
      day: "日期",
      partner: "上报方",
      programme: "碳普惠项目",
      methodology: "方法学",
      formula: "公式",
      cosigned: "见证",
      note: "说明",
    },
    kinds: { reduction: "减排量", emission: "排放量" },
    outcomes: {
      granted: "足额记入", capped: "达到上限，部分或不记入", duplicate_of: "同一行为已由另一上报计入",
      overlap_of: "与同时段的另一行为重叠", repeat: "重复上报", conflict: "同一编号、内容不同的上报", late: "上报过晚",
      withdrawn: "上报方已撤回", withdrawal: "撤回先前的行为",
    },
    rehearsal: "演练项目，不构成任何减排主张。",
    provisional: "方法学或因子为暂定值，未经确认。",
  },
  en: {
    title: "Verify a receipt or certificate",
    lead: "Proof that one carbon reduction record stands in the public log, or that a programme issued a certificate. Everything is checked on your own device.",
    choose: "Choose the receipt or certificate",
    drop: "or drop the file here",
    key: "Public key of the log",
    keyHint: "One line: name+id+key. Get it from someone other than the operator, not only from whoever sent the receipt.",
    policy: "Witness policy (optional)",
    policyHint: "Says which independent witnesses must have signed. If it lists the log, no key is needed.",
    policyFile: "Read the policy from a file",
    status: "Status list of a certificate (optional)",
    statusHint: "Whether a certificate was revoked is said by the status list alone. Its address is in the certificate; anyone may fetch it, and it is good for a day.",
    statusFile: "Read the status list from a file",
    statusAt: "Status list",
    other: "This is not the certificate that the QR code was made for.",
    kinds_of_certificate: { statement: "Monthly carbon statement", green_credit: "Green credit certificate", donation: "Certificate of donation", retirement: "Certificate of retirement" },
    checked: "What was checked",
    more: "All fields",
    offline: "This page uses no network: it works offline, and you may save it.",
    trust:
      "A receipt proves that the record was booked like this and not changed since. That the act took place is for its partner to show.",
    verified: "Verified",
    refused: "Not verified",
    failed: (step) => `Not verified. What failed: ${step}`,
    waiting: "One thing is missing",
    waitingKey: "Please give the log's public key, or a witness policy that lists the log.",
    waitingFile: "Please choose the receipt file.",
    insecure: "The browser offers no cryptography at this address. Save the page and open it from disk, or use https.",
    broken: "The page itself failed; nothing was decided.",
    trustDo: "Please check the key or the policy that you gave.",
    refusedDo:
      "Do not rely on this file. Ask the operator for a new receipt; if that fails as well, keep the file as evidence.",
    steps: {
      file: ["The file is a receipt or a certificate", "its form is complete"],
      trust: ["Key and policy can be used", "checked against the key that you gave"],
      record: ["The record is in its batch", (v) => `number ${v.place}, counted from 0, of the ${v.manifest.records} records of batch ${v.manifest.batch}`],
      log: ["The batch is in the public log", (v) => `entry ${v.entry} of ${v.checkpoint.origin}, signed at size ${v.checkpoint.size}`],
      witnesses: ["Witnesses signed", (v) => (v.quorum === null ? "not checked: no policy was given" : `the quorum ${v.quorum} is met`)],
      signature: ["The signature fits", "it covers all that it says"],
      issuer: ["The issuer's key is in the public log", (v) => `entry ${v.entry} of ${v.checkpoint.origin}, signed at size ${v.checkpoint.size}`],
      status: ["Not revoked", (v) => (v.statusAt === null ? "not checked: no status list was given" : `as of ${v.statusAt}`)],
      amount: ["The amount follows from the methodology", (v) => (v.plan ? `${v.plan.key} gives ${v.plan.amount} mg for the inputs` : "nothing to compute for this record")],
    },
    notAsked: "not reached",
    facts: {
      granted: "Booked",
      reversed: "Taken back",
      outcome: "Outcome",
      what: "Behaviour",
      day: "Day",
      partner: "Reported by",
      programme: "Programme",
      methodology: "Methodology",
      formula: "Formula",
      cosigned: "Witnessed",
      note: "Note",
    },
    kinds: { reduction: "reduction", emission: "emission" },
    outcomes: {
      granted: "granted in full", capped: "capped: a limit was reached", duplicate_of: "another report of the act counts",
      overlap_of: "overlaps another act of that time", repeat: "the same report again",
      conflict: "same reference, other content", late: "reported too late", withdrawn: "withdrawn by its partner",
      withdrawal: "takes back an earlier act",
    },
    rehearsal: "A rehearsal; no claim follows from it.",
    provisional: "Methodology or factors are provisional, not confirmed.",
  },
};

const RECEIPT_STEPS = ["file", "trust", "record", "log", "witnesses", "amount"];
const CERTIFICATE_STEPS = ["file", "trust", "signature", "issuer", "witnesses", "status"];
const isCertificate = (bytes) => bytes[0] === 0x7b || bytes[0] === 0x25; // { of JSON, % of PDF
const at = (id) => document.getElementById(id);
let language = (navigator.language || "zh").toLowerCase().startsWith("zh") ? "zh" : "en";
let receipt = null;
let policyFile = null;
let statusFile = null;
let shown = null;
let turn = 0;

const element = (name, text, kind) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
};

// Milligrams as people read them, exactly.
const mass = (mg, gases) => {
  const amount = BigInt(mg);
  const size = amount < 0n ? -amount : amount;
  const [unit, places] = size >= 1_000_000n ? ["kg", 6] : ["g", 3];
  const digits = String(size).padStart(places + 1, "0");
  const rest = digits.slice(-places).replace(/0+$/, "");
  return `${amount < 0n ? "-" : ""}${digits.slice(0, -places)}${rest && `.${rest}`} ${unit} ${gases.replaceAll("2", "₂")}`;
};

const timeText = (seconds) => {
  const moment = new Date(Number(seconds) * 1000);
  return Number.isNaN(moment.getTime()) ? String(seconds) : `${moment.toISOString().slice(0, 19)}Z`;
};

function pairs(list, rows) {
  list.replaceChildren();
  for (const [name, value, kind] of rows) {
    if (value === null || value === undefined || value === "") continue;
    list.append(element("dt", name), element("dd", value, kind));
  }
}

// What a certificate says, member by member; its words are those of the credential.
function said(subject, before = "") {
  return Object.entries(subject).flatMap(([name, value]) => {
    if (isObject(value)) return said(value, `${before}${name}.`);
    if (Array.isArray(value)) return value.flatMap((each, i) => said(each, `${before}${name} ${i + 1}.`));
    return [[`${before}${name}`, name.endsWith("Mg") ? mass(value, "CO2e") : String(value)]];
  });
}

function facts(v) {
  const say = SAY[language];
  if (v.document) {
    const rehearsal = v.document.credentialSubject.programme.rehearsal ? say.rehearsal : null;
    return [
      ["", say.kinds_of_certificate[v.kind], "large"],
      ...said(v.document.credentialSubject),
      [say.statusAt, v.statusList],
      ["SHA-256", v.sha256],
      [say.facts.note, rehearsal, "note"],
    ];
  }
  const { record, plan, manifest } = v;
  const gases = plan?.gases ?? "CO2e";
  const titled = plan?.title?.[language] ?? plan?.title?.zh;
  const statuses = plan ? [plan.status, ...Object.values(plan.parameters).map((each) => each.status)] : [];
  const notes = [
    manifest.rehearsal ? say.rehearsal : null,
    statuses.some((status) => status !== "published") ? say.provisional : null,
  ];
  return [
    [say.facts.granted, `${mass(record.granted_mg, gases)} · ${say.kinds[record.kind]}`, "large"],
    [say.facts.reversed, record.reversed_mg === "0" ? null : mass(record.reversed_mg, gases)],
    [say.facts.outcome, say.outcomes[record.outcome]],
    [say.facts.what, record.behaviour],
    [say.facts.day, record.day],
    [say.facts.partner, record.partner],
    [say.facts.programme, String(manifest.programme ?? "")],
    [say.facts.methodology, plan && [plan.key, titled].filter(Boolean).join(" · ")],
    [say.facts.formula, plan?.formula],
    [say.facts.cosigned, v.cosigned.map((each) => `${each.witness} ${timeText(each.time)}`).join(", ")],
    [say.facts.note, notes.filter(Boolean).join(" "), "note"],
  ];
}

function step(name, mark, kind, detail) {
  const [title, held] = SAY[language].steps[name];
  const item = element("li", undefined, kind);
  const words = element("div");
  words.append(element("p", title));
  const text = detail ?? held;
  if (text) words.append(element("p", text));
  item.append(element("span", mark), words);
  item.dataset.step = name;
  return item;
}

function steps(result) {
  const STEPS = result.certificate ? CERTIFICATE_STEPS : RECEIPT_STEPS;
  if (result.ok) {
    return STEPS.map((name) => {
      const detail = SAY[language].steps[name][1];
      const unasked =
        (name === "witnesses" && result.ok.quorum === null) || (name === "status" && result.ok.statusAt === null);
      const text = typeof detail === "function" ? detail(result.ok) : detail;
      return step(name, unasked ? "–" : "✓", unasked ? "open" : "holds", text);
    });
  }
  const broken = STEPS.indexOf(result.step);
  return STEPS.map((name, i) => {
    if (i < broken) return step(name, "✓", "holds", "");
    if (i > broken) return step(name, "–", "open", SAY[language].notAsked);
    return step(name, "✗", "fails", `${result.code}: ${result.message}`);
  });
}

function render() {
  const say = SAY[language];
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = `${say.title} · Tanzhang 碳账`;
  for (const each of document.querySelectorAll("[data-say]")) each.textContent = say[each.dataset.say];
  at("language").textContent = language === "zh" ? "English" : "中文";
  at("language").lang = language === "zh" ? "en" : "zh-CN";
  if (receipt) at("receipt-name").textContent = receipt.name;
  at("result").hidden = shown === null;
  if (shown === null) return;
  const kind = shown.ok ? "verified" : shown.waiting ? "waiting" : "refused";
  at("verdict").className = `verdict ${kind}`;
  at("verdict").dataset.code = shown.code ?? kind;
  const failed = shown.step && say.steps[shown.step][0];
  at("headline").textContent = failed ? say.failed(failed) : say[kind];
  const advice = shown.step === "trust" ? say.trustDo : say.refusedDo;
  at("reason").textContent = shown.ok ? "" : shown.waiting ? say[shown.waiting] : say[shown.say] ?? advice;
  pairs(at("facts"), shown.ok ? facts(shown.ok) : []);
  const listed = shown.waiting || shown.say ? [] : steps(shown);
  at("steps").replaceChildren(...listed);
  at("steps").hidden = !listed.length;
  document.querySelector("h2").hidden = !listed.length;
  at("more").hidden = !shown.ok?.record;
  const record = shown.ok?.record ?? {};
  pairs(
    at("details"),
    Object.keys(record).map((name) => [
      name,
      name === "inputs" ? Object.entries(record.inputs).map((pair) => pair.join(" ")).join(", ") : record[name],
    ]),
  );
}

async function check() {
  const own = ++turn;
  const key = at("key").value.trim();
  const policy = policyFile ?? (at("policy").value.trim() ? utf8.encode(`${at("policy").value}\n`) : null);
  let result = null;
  if (receipt === null) {
    result = key || policy ? { waiting: "waitingFile" } : null;
  } else if (!key && policy === null) {
    result = { waiting: "waitingKey" };
  } else if (!globalThis.crypto?.subtle) {
    result = { code: "insecure", say: "insecure" };
  } else {
    let begun = "file";
    const certificate = isCertificate(receipt.bytes);
    try {
      const step = (name) => (begun = name);
      const ok = certificate
        ? await verifyCertificate(receipt.bytes, key, policy, statusFile, Date.now(), step)
        : await verifyReceipt(receipt.bytes, key, policy, step);
      const wanted = new URLSearchParams(location.hash.slice(1)).get("sha256");
      result = certificate && wanted && wanted !== ok.sha256 ? { code: "other", say: "other" } : { ok, certificate };
    } catch (error) {
      const known = error instanceof Refusal;
      result = known
        ? { certificate, step: begun, code: error.code, message: error.message }
        : { code: "broken", say: "broken" };
    }
  }
  if (own !== turn) return; // something newer is being checked
  shown = result;
  render();
}

async function take(file) {
  if (!file) return;
  receipt = { name: file.name, bytes: new Uint8Array(await file.arrayBuffer()) };
  await check();
}

at("receipt").addEventListener("change", (event) => take(event.target.files[0]));
at("policy-file").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  if (!file) return;
  const bytes = new Uint8Array(await file.arrayBuffer());
  at("policy").value = new TextDecoder().decode(bytes);
  policyFile = bytes; // names are compared byte by byte, so the bytes stay beside the text
  await check();
});
at("status-file").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  statusFile = file ? new Uint8Array(await file.arrayBuffer()) : null;
  await check();
});
at("policy").addEventListener("input", () => {
  policyFile = null;
  check();
});
at("key").addEventListener("input", check);
at("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  render();
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop") take(event.dataTransfer.files[0]);
  });
}
Object.assign(globalThis, { verifyReceipt, verifyCertificate, quantify }); // for other pages, and for our tests
render();
