"""A certificate's page for people, made of the signed credential alone, so that it can say nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import quote

from tanzhang.core.credential import DONATION, GREEN_CREDIT, RETIREMENT, STATEMENT, TYPES, moment
from tanzhang.stores.pdf import Line, Page, certificate_pdf

_ACCENTS = {STATEMENT: (24, 92, 82), GREEN_CREDIT: (30, 84, 58), DONATION: (146, 78, 30), RETIREMENT: (40, 62, 112)}
_SERIALS, _METHODOLOGIES, _NAME = 4, 4, 40  # on the page; everything is whole in the attachment
_STATES = {"confirmed": "已确认 confirmed", "provisional": "暂定 provisional"}


def pdf_of(credential: bytes) -> bytes:
    """The PDF file of a signed credential; ``fonts-missing``."""
    return certificate_pdf(page_of(credential), credential)


def page_of(credential: bytes) -> Page:
    """What the page of a signed credential shows."""
    document = json.loads(credential)
    subject = document["credentialSubject"]
    kind = next(kind for kind, name in TYPES.items() if name in document["type"])
    titles = {each["@language"]: each["@value"] for each in document["name"]}
    programme = subject["programme"]
    figure = _FIGURES[kind](subject)
    return Page(
        issuer_zh=programme["nameZh"],
        issuer_en=programme["name"],
        title_zh=titles["zh-CN"],
        title_en=titles["en"],
        for_whom=_for_whom(subject),
        figure=figure[0],
        figure_unit=figure[1],
        figure_zh=figure[2],
        figure_en=figure[3],
        columns=("次数 acts", "减排量 reduction") if subject.get("byCategory") else (),
        lines=_lines(kind, subject),
        notes=_notes(subject, {each["type"] for each in document["evidence"]}),
        mark="演练 REHEARSAL" if programme["rehearsal"] else None,
        qr=qr_text(document, credential),
        small=_small(document, credential),
        accent=_ACCENTS[kind],
        made=moment(document["validFrom"]),
    )


def qr_text(document: Mapping[str, Any], credential: bytes) -> str:
    """Where the QR code leads: the page that verifies, told which certificate it is by its id and SHA-256.

    What stands behind ``#`` stays in the browser: whoever serves the page does not learn which certificate it was.
    """
    address = document["credentialStatus"]["statusListCredential"].partition("/certificates/")[0]
    digest = hashlib.sha256(credential).hexdigest()
    return f"{address}/verify#certificate={quote(document['id'], safe=':')}&sha256={digest}"


def mass(mg: str) -> tuple[str, str]:
    """Milligrams as a number and its unit, exactly.

    >>> mass("12345678"), mass("37000"), mass("-2500000000"), mass("0")
    (('12.345678', 'kg'), ('37', 'g'), ('-2,500', 'kg'), ('0', 'g'))
    """
    amount = int(mg)
    size, unit = (10**6, "kg") if abs(amount) >= 10**6 else (10**3, "g")
    whole, rest = divmod(abs(amount), size)
    part = f"{rest:0{len(str(size)) - 1}d}".rstrip("0")
    return f"{'-' if amount < 0 else ''}{whole:,}{'.' + part if part else ''}", unit


def _weight(mg: str) -> str:
    return " ".join(mass(mg))


def _for_whom(subject: Mapping[str, Any]) -> tuple[str, ...]:
    lines = []
    if "holderName" in subject:
        lines.append(subject["holderName"])
    if "addressedTo" in subject:
        lines.append(f"致 to {subject['addressedTo']}")
    if "since" in subject:
        lines.append(f"{subject['since']} — {subject['until']}")
    if "donatedOn" in subject:
        lines.append(f"{subject['project']['nameZh']}  {subject['project']['name']}")
        lines.append(f"{subject['donatedOn']}")
    if "retiredAt" in subject:
        beneficiary = subject.get("beneficiary")
        lines.append(_short(beneficiary["beneficiary"]) if beneficiary else "受益方未公开 beneficiary not disclosed")
        lines.append(f"{subject['claimPeriod']['since']} — {subject['claimPeriod']['until']}")
    return tuple(lines)


def _short(text: str) -> str:
    """A name as it fits on a line; whole in the attachment."""
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"


def _of_reduction(subject: Mapping[str, Any]) -> tuple[str, str, str, str]:
    if "reductionMg" not in subject:
        return "", "", "", ""
    return (*mass(subject["reductionMg"]), "碳减排量（二氧化碳当量）", "carbon reduction, CO2 equivalent")


def _of_donation(subject: Mapping[str, Any]) -> tuple[str, str, str, str]:
    if "reductionMg" in subject:
        return (
            *mass(subject["reductionMg"]),
            "已捐赠碳减排量（二氧化碳当量）",
            "carbon reduction donated, CO2 equivalent",
        )
    (points,) = subject["points"]
    return f"{int(points['amount']):,}", points["nameZh"], "已捐赠", f"{points['name']} donated"


def _of_retirement(subject: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return (*mass(subject["massMg"]), "已注销碳普惠减排量（二氧化碳当量）", "carbon reduction retired, CO2 equivalent")


_FIGURES: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, str, str, str]]] = {
    STATEMENT: _of_reduction,
    GREEN_CREDIT: _of_reduction,
    DONATION: _of_donation,
    RETIREMENT: _of_retirement,
}


def _lines(kind: str, subject: Mapping[str, Any]) -> tuple[Line, ...]:
    blank = ("",) if subject.get("byCategory") else ()
    found = [
        Line(each["nameZh"], each["name"], (each["acts"], _weight(each["reductionMg"])))
        for each in subject.get("byCategory", [])
    ]
    if "state" in subject:
        found.append(Line("状态", "state", (*blank, _STATES[subject["state"]])))
    if "acts" in subject:
        found.append(Line("低碳行为", "acts credited", (*blank, subject["acts"])))
    if "footprintMg" in subject:
        found.append(Line("碳足迹", "reported footprint", (*blank, _weight(subject["footprintMg"]))))
    elif "footprintReports" in subject:
        found.append(Line("碳足迹", "footprint", (*blank, "未上报 not reported")))
    found += [_graded(each, blank) for each in subject.get("grades", [])]
    if kind == DONATION:
        found.append(Line("受赠方", "recipient", (subject["project"]["recipient"],)))
        found.append(Line("编号", "reference", (subject["reference"],)))
    elif kind == RETIREMENT:
        found += _retired(subject)
    else:
        found += [
            Line(f"可用{each['nameZh']}", f"{each['name']} on {each['asOf']}", (*blank, f"{int(each['amount']):,}"))
            for each in subject.get("points", [])
        ]
    return tuple(found)


def _retired(subject: Mapping[str, Any]) -> list[Line]:
    """The units that were retired, and what for."""
    lot, purpose = subject["lot"], subject["purpose"]
    found = [
        Line("用途", "purpose", (f"{purpose.get('nameZh', '')} {purpose.get('name', purpose['code'])}".strip(),)),
        Line("批次、年份", "lot, vintage", (f"{lot['number']}, {subject['vintage']}, {subject['region']}",)),
        Line("单位数", "units", (f"{int(subject['units']):,} × {_weight(subject['unit']['massMg'])}",)),
    ]
    shown = subject["serials"][:_SERIALS]
    found += [Line("序列号", "serial number", (each,)) for each in shown]
    if len(shown) < len(subject["serials"]):
        found.append(Line("其余见附件", "others in the attachment", (str(len(subject["serials"]) - len(shown)),)))
    found += [Line("方法学", "methodology", (each,)) for each in list(lot.get("methodologies", ()))[:_METHODOLOGIES]]
    return found


def _graded(grade: Mapping[str, str], blank: tuple[str, ...]) -> Line:
    said = f"{grade['nameZh']} {grade['name']}" if "grade" in grade else f"未评 {grade['notGraded']}"
    return Line("碳等级", f"grade of {grade['month']}", (*blank, said))


def _notes(subject: Mapping[str, Any], evidence: Collection[str]) -> tuple[str, ...]:
    notes = []
    if subject.get("state") == "provisional":
        notes.append(
            "暂定：本期仍有行为在确认窗口内，结果可能变化。"
            "Provisional: acts of this time may still be decided otherwise."
        )
    if int(subject.get("ofUnpublishedFactorsMg", "0")):
        notes.append(
            f"其中 {_weight(subject['ofUnpublishedFactorsMg'])} 所用方法学或因子尚未经原文核实。"
            "That much rests on methodologies or factors that were not confirmed from the document itself."
        )
    if any("notGraded" in each for each in subject.get("grades", [])):
        notes.append("未评等级的原因见代码说明。Why a month has no grade is said by its code.")
    if "holderName" in subject:
        notes.append("姓名由本人填写，未经核验。The name was given by the person and was not checked by the issuer.")
    if "DonationInclusion" in evidence:
        notes.append("捐赠已列入公开日志，附件含其证明。The gift is in the public log; its proof is in the attachment.")
    if "claims" in subject:
        beneficiary = subject.get("beneficiary", {})
        if beneficiary.get("using_entity"):
            notes.append(f"使用方 using entity: {beneficiary['using_entity']}")
        if beneficiary.get("note"):
            notes.append(f"说明 note: {beneficiary['note']}")
        claim = subject["claims"]["usingEntity"]
        notes.append(f"使用方{claim['mayZh']}；{claim['mayNotZh']}。")
        notes.append(f"The using entity may {claim['may']}; it may not {claim['mayNot']}.")
        notes.append("批次与注销均已列入公开日志，附件含其证明。Lot and retirement are in the public log.")
    if "donatedOn" in subject or "claims" in subject:
        return tuple(notes)
    notes.append(
        "减排量按公开方法学核算，可逐条以凭证验证；不可交易，不代表现金。"
        "Reductions follow public methodologies and can be proved act by act; they are not for sale and are not money."
    )
    return tuple(notes)


def _small(document: Mapping[str, Any], credential: bytes) -> tuple[tuple[str, str], ...]:
    digest = hashlib.sha256(credential).hexdigest()
    log = next((each["log"] for each in document["evidence"] if "log" in each), None)
    told = [
        ("编号 id", document["id"].removeprefix("urn:uuid:")),
        ("签发 issued", f"{document['validFrom']}   {document['proof']['cryptosuite']}"),
        ("签发者 by", document["issuer"]["id"]),
        ("SHA-256", digest),
    ]
    return (*told, ("日志 log", log)) if log is not None else tuple(told)
