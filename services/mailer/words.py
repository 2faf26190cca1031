"""What the mailer itself says to a reader, in the reader's language: the foot of a mail and the public pages."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """One language; `{brand}` stands for the sender's name."""

    locale: str
    why: str
    unsubscribe: str
    ask_title: str
    ask: str
    confirm: str
    done_title: str
    done: str
    unknown_title: str
    unknown: str


_ENGLISH = Words(
    locale="en",
    why="You receive this because you asked {brand} to write to you.",
    unsubscribe="Unsubscribe",
    ask_title="Stop these mails?",
    ask="With one click {brand} stops sending you news and offers. Mails about your own orders and account still reach you.",
    confirm="Unsubscribe",
    done_title="You are unsubscribed",
    done="{brand} will send you no more news and offers. You can close this page.",
    unknown_title="This link leads nowhere",
    unknown="It may have been cut off on its way. Please open it again from the mail itself.",
)
_ARABIC = Words(
    locale="ar",
    why="تصلك هذه الرسالة لأنك طلبت من {brand} مراسلتك.",
    unsubscribe="إلغاء الاشتراك",
    ask_title="هل تريد إيقاف هذه الرسائل؟",
    ask="بنقرة واحدة تتوقف {brand} عن إرسال الأخبار والعروض إليك. أما الرسائل المتعلقة بطلباتك وحسابك فستظل تصلك.",
    confirm="إلغاء الاشتراك",
    done_title="تم إلغاء اشتراكك",
    done="لن ترسل إليك {brand} أخبارًا أو عروضًا بعد الآن. يمكنك إغلاق هذه الصفحة.",
    unknown_title="هذا الرابط لا يؤدي إلى أي مكان",
    unknown="ربما انقطع جزء منه في الطريق. يُرجى فتحه مجددًا من الرسالة نفسها.",
)
_PERSIAN = Words(
    locale="fa",
    why="این نامه را دریافت می‌کنید چون از {brand} خواسته‌اید برایتان بنویسد.",
    unsubscribe="لغو اشتراک",
    ask_title="این نامه‌ها دیگر فرستاده نشود؟",
    ask="با یک کلیک، {brand} دیگر خبر و پیشنهاد برایتان نمی‌فرستد. نامه‌های مربوط به سفارش‌ها و حساب شما همچنان می‌رسد.",
    confirm="لغو اشتراک",
    done_title="اشتراک شما لغو شد",
    done="{brand} دیگر خبر و پیشنهادی برایتان نمی‌فرستد. می‌توانید این صفحه را ببندید.",
    unknown_title="این پیوند به جایی نمی‌رسد",
    unknown="شاید بخشی از آن در راه بریده شده باشد. لطفاً دوباره از داخل خود نامه بازش کنید.",
)
_LANGUAGES = {words.locale: words for words in (_ENGLISH, _ARABIC, _PERSIAN)}


def words_for(locale: str | None) -> Words:
    """The reader's language, or English where we do not speak it."""
    language = (locale or "").replace("_", "-").lower().partition("-")[0]
    return _LANGUAGES.get(language, _ENGLISH)
