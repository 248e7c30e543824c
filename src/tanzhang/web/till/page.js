// The till: signs a merchant in, looks at a voucher, takes it once. Texts go in as text, never as markup.

const SAY = {
  zh: {
    title: "核销兑换券", name: "用户名", password: "密码", code: "动态码", signIn: "登录", signOut: "退出登录",
    voucher: "券码", scan: "扫码", check: "查看", redeem: "确认核销", good: "可以核销", taken: "已核销，请交付",
    refused: "不能核销，请勿交付", failed: "没有完成，请再试一次", until: (at) => `有效期至 ${at}`, wrong: "登录未成功",
    known: {
      "voucher-malformed": "券码有误，请重新扫码或逐字输入。",
      "voucher-unknown": "不是本商户的券。",
      "voucher-redeemed": "这张券已经核销过。",
      "voucher-expired": "这张券已经过期。",
      "voucher-cancelled": "这张券已被取消。",
      "sign-in-failed": "用户名、密码或动态码不对。",
      "code-missing": "请输入动态码。",
      "not-allowed": "您的岗位不能核销。",
    },
  },
  en: {
    title: "Take a voucher", name: "Name", password: "Password", code: "One-time code", signIn: "Sign in",
    signOut: "Sign out", voucher: "Voucher", scan: "Scan", check: "Look", redeem: "Take it", good: "Good to take",
    taken: "Taken: deliver now", refused: "Refused: deliver nothing", failed: "Not done: try again",
    until: (at) => `good until ${at}`, wrong: "Not signed in", known: {},
  },
};
const at = (id) => document.getElementById(id);
let language = navigator.language.startsWith("zh") ? "zh" : "en";
let csrf = null;
let shown = null; // what the result says: kind, say, code, detail, title, until, voucher

async function ask(method, path, body) {
  const headers = { "Content-Type": "application/json" };
  if (csrf) headers["X-CSRF-Token"] = csrf;
  try {
    const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    return { ok: answer.ok, status: answer.status, said: await answer.json() };
  } catch {
    return { ok: false, status: 0, said: { code: "network", detail: "" } };
  }
}

function render() {
  const say = SAY[language];
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = `${say.title} · Tanzhang 碳账`;
  for (const each of document.querySelectorAll("[data-say]")) each.textContent = say[each.dataset.say];
  at("language").textContent = language === "zh" ? "English" : "中文";
  at("language").lang = language === "zh" ? "en" : "zh-CN";
  at("sign-in").hidden = csrf !== null;
  for (const id of ["till", "sign-out"]) at(id).hidden = csrf === null;
  at("scan").hidden = !("BarcodeDetector" in globalThis);
  at("result").hidden = shown === null;
  if (shown === null) return;
  at("verdict").className = `verdict ${shown.kind}`;
  at("verdict").dataset.code = shown.code ?? shown.say;
  at("headline").textContent = [say[shown.say], shown.title?.[language]].filter(Boolean).join(" · ");
  const until = shown.until ? say.until(new Date(shown.until).toLocaleString(document.documentElement.lang)) : "";
  const reason = [say.known[shown.code], shown.detail].filter(Boolean).join(" ");
  at("reason").textContent = shown.code ? reason : until;
  at("redeem").hidden = shown.say !== "good";
}

function refusal({ status, said }, say) {
  // Nothing is known where no answer came, or the server is busy: the voucher may be good, or even taken.
  const unsure = status === 0 || status === 429 || status >= 500;
  shown = { kind: unsure ? "waiting" : "refused", say: unsure ? "failed" : say, code: said.code, detail: said.detail };
  if (status === 401 && csrf) csrf = null;
}

async function look(voucher) {
  const answer = await ask("POST", "/v1/merchant/vouchers:check", { voucher });
  if (answer.ok) {
    const { title, title_zh, valid_until } = answer.said;
    shown = { kind: "waiting", say: "good", title: { en: title, zh: title_zh }, until: valid_until, voucher };
  } else refusal(answer, "refused");
  render();
}

async function take() {
  const { voucher, title } = shown;
  at("redeem").disabled = true; // a second press is not a second taking
  const answer = await ask("POST", "/v1/merchant/vouchers:redeem", { voucher });
  at("redeem").disabled = false;
  if (answer.ok) {
    shown = { kind: "verified", say: "taken", title };
    at("voucher").value = "";
    at("voucher").focus();
  } else refusal(answer, "refused");
  render();
}

async function scan() {
  const camera = at("camera");
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  camera.srcObject = stream;
  camera.hidden = false;
  await camera.play();
  const detector = new BarcodeDetector({ formats: ["qr_code"] });
  while (!camera.hidden) {
    const [found] = await detector.detect(camera).catch(() => []);
    if (found) {
      at("voucher").value = found.rawValue;
      camera.hidden = true;
    } else await new Promise(requestAnimationFrame);
  }
  for (const track of stream.getTracks()) track.stop();
  await look(at("voucher").value);
}

at("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const code = at("code").value.trim();
  const body = { name: at("name").value, password: at("password").value, ...(code && { code }) };
  const answer = await ask("POST", "/v1/staff/session", body);
  if (answer.said.code === "code-missing") at("code-field").hidden = false;
  if (answer.ok) {
    csrf = answer.said.csrf;
    at("password").value = at("code").value = "";
    shown = null;
  } else refusal(answer, "wrong");
  render();
});
at("till").addEventListener("submit", (event) => {
  event.preventDefault();
  look(at("voucher").value);
});
at("redeem").addEventListener("click", take);
at("scan").addEventListener("click", () => scan().catch(() => (at("camera").hidden = true)));
at("sign-out").addEventListener("click", async () => {
  await ask("DELETE", "/v1/session");
  csrf = shown = null;
  render();
});
at("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  render();
});
const { said } = await ask("GET", "/v1/session");
csrf = said.role === "enterprise" ? said.csrf : null;
render();
