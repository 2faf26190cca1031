"""What the mailer itself says to a reader, in the reader's language: the foot of a mail and the public pages."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Words:
    """One language; `{brand}`, `{address}` and `{date}` stand for what their names say."""

    locale: str
    why: str
    unsubscribe: str
    preferences: str

    ask_title: str
    ask: str
    done_title: str
    done: str
    choose: str
    unknown_title: str
    unknown: str
    later_title: str
    later: str

    confirm_title: str
    confirm: str
    confirm_button: str
    confirmed_title: str
    confirmed: str
    confirmed_before_title: str
    confirmed_before: str
    too_old_title: str
    too_old: str

    choices_title: str
    choices: str
    topics: str
    language: str
    save: str
    saved: str
    pause_title: str
    pause: str
    pause_button: str
    paused: str
    resume_button: str
    leave_title: str
    leave: str
    leave_button: str
    left: str
    return_button: str

    months: tuple[str, ...]
    digits: str

    def on_day(self, day: date) -> str:
        """The day as it is written in this language, by the Gregorian calendar."""
        written = f"{day.day} {self.months[day.month - 1]} {day.year}"
        return written.translate(str.maketrans("0123456789", self.digits))


_ENGLISH = Words(
    locale="en",
    why="You receive this because you asked {brand} to write to you.",
    unsubscribe="Unsubscribe",
    preferences="Choose what you get",
    ask_title="Stop these mails?",
    ask="With one click {brand} stops sending you news and offers. Mails about your own orders and account still reach you.",
    done_title="You are unsubscribed",
    done="{brand} will send you no more news and offers. You can close this page.",
    choose="Only some of it, or a pause? Choose what you get",
    unknown_title="This link leads nowhere",
    unknown="It may have been cut off on its way. Please open it again from the mail itself.",
    later_title="Not now, please again in a moment",
    later="We could not write it down just now; nothing has changed. Please try again in a minute.",
    confirm_title="Is this your address?",
    confirm="Somebody asked {brand} to write to {address}. If it was you, say so here; else close this page, and nothing more comes.",
    confirm_button="Yes, write to me",
    confirmed_title="Thank you, it is confirmed",
    confirmed="{brand} may write to {address} now. Every mail has a link with which you can stop it.",
    confirmed_before_title="It is confirmed already",
    confirmed_before="You have answered this mail before; there is nothing left to do.",
    too_old_title="This mail has grown old",
    too_old="Its link no longer counts. Please sign up once more, and {brand} sends you a new one.",
    choices_title="Mail from {brand}",
    choices="What you choose here is for {address}.",
    topics="What may we write to you about?",
    language="Language",
    save="Save",
    saved="Saved.",
    pause_title="Too much at the moment?",
    pause="Take a month off: until then you get no news and offers. Then they go on by themselves.",
    pause_button="Pause for a month",
    paused="You get no news and offers until {date}.",
    resume_button="Go on now",
    leave_title="Nothing at all?",
    leave="Mails about your own orders and account still reach you.",
    leave_button="Unsubscribe from everything",
    left="You get no news and offers from {brand}. Mails about your own orders and account still reach you.",
    return_button="Send me news and offers again",
    months=(
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    ),
    digits="0123456789",
)
_ARABIC = Words(
    locale="ar",
    why="تصلك هذه الرسالة لأنك طلبت من {brand} مراسلتك.",
    unsubscribe="إلغاء الاشتراك",
    preferences="اختر ما يصلك",
    ask_title="هل تريد إيقاف هذه الرسائل؟",
    ask="بنقرة واحدة تتوقف {brand} عن إرسال الأخبار والعروض إليك. أما الرسائل المتعلقة بطلباتك وحسابك فستظل تصلك.",
    done_title="تم إلغاء اشتراكك",
    done="لن ترسل إليك {brand} أخبارًا أو عروضًا بعد الآن. يمكنك إغلاق هذه الصفحة.",
    choose="تريد بعضها فقط، أو استراحة قصيرة؟ اختر ما يصلك",
    unknown_title="هذا الرابط لا يؤدي إلى أي مكان",
    unknown="ربما انقطع جزء منه في الطريق. يُرجى فتحه مجددًا من الرسالة نفسها.",
    later_title="تعذّر ذلك الآن",
    later="لم نتمكن من تسجيل ذلك الآن ولم يتغير شيء. يُرجى المحاولة مرة أخرى بعد دقيقة.",
    confirm_title="هل هذا عنوانك؟",
    confirm="طلب شخص ما من {brand} أن تراسل {address}. إن كنت أنت فأكّد ذلك هنا، وإلا فأغلق هذه الصفحة ولن يصلك شيء بعدها.",
    confirm_button="نعم، راسلوني",
    confirmed_title="شكرًا لك، تم التأكيد",
    confirmed="أصبح بإمكان {brand} مراسلة {address}. وفي كل رسالة رابط يمكنك به إيقافها.",
    confirmed_before_title="تم التأكيد من قبل",
    confirmed_before="لقد أجبت عن هذه الرسالة سابقًا، ولم يبقَ ما عليك فعله.",
    too_old_title="مضى على هذه الرسالة وقت طويل",
    too_old="لم يعد رابطها صالحًا. يُرجى التسجيل مرة أخرى لترسل إليك {brand} رابطًا جديدًا.",
    choices_title="رسائل {brand}",
    choices="ما تختاره هنا يخص {address}.",
    topics="عمّ تودّ أن نكتب إليك؟",
    language="اللغة",
    save="حفظ",
    saved="تم الحفظ.",
    pause_title="الرسائل كثيرة عليك الآن؟",
    pause="خذ استراحة لمدة شهر: لن تصلك خلاله أخبار ولا عروض، ثم تعود من تلقاء نفسها.",
    pause_button="إيقاف لمدة شهر",
    paused="لن تصلك أخبار ولا عروض حتى {date}.",
    resume_button="استئناف الآن",
    leave_title="لا تريد شيئًا على الإطلاق؟",
    leave="أما الرسائل المتعلقة بطلباتك وحسابك فستظل تصلك.",
    leave_button="إلغاء الاشتراك من كل شيء",
    left="لا تصلك أخبار ولا عروض من {brand}. أما الرسائل المتعلقة بطلباتك وحسابك فستظل تصلك.",
    return_button="أرسلوا إليّ الأخبار والعروض من جديد",
    months=("يناير", "فبراير", "مارس", "أبريل", "مايو", "يونيو", "يوليو", "أغسطس", "سبتمبر", "أكتوبر", "نوفمبر", "ديسمبر"),
    digits="٠١٢٣٤٥٦٧٨٩",
)
_PERSIAN = Words(
    locale="fa",
    why="این نامه را دریافت می‌کنید چون از {brand} خواسته‌اید برایتان بنویسد.",
    unsubscribe="لغو اشتراک",
    preferences="انتخاب نامه‌ها",
    ask_title="این نامه‌ها دیگر فرستاده نشود؟",
    ask="با یک کلیک، {brand} دیگر خبر و پیشنهاد برایتان نمی‌فرستد. نامه‌های مربوط به سفارش‌ها و حساب شما همچنان می‌رسد.",
    done_title="اشتراک شما لغو شد",
    done="{brand} دیگر خبر و پیشنهادی برایتان نمی‌فرستد. می‌توانید این صفحه را ببندید.",
    choose="فقط بعضی از آن‌ها، یا کمی استراحت؟ انتخاب کنید چه برسد",
    unknown_title="این پیوند به جایی نمی‌رسد",
    unknown="شاید بخشی از آن در راه بریده شده باشد. لطفاً دوباره از داخل خود نامه بازش کنید.",
    later_title="این لحظه نشد",
    later="همین حالا نتوانستیم آن را ثبت کنیم و چیزی تغییر نکرده است. لطفاً یک دقیقهٔ دیگر دوباره امتحان کنید.",
    confirm_title="این نشانی شماست؟",
    confirm="کسی از {brand} خواسته است به {address} نامه بفرستد. اگر شما بودید همین‌جا تأیید کنید، وگرنه صفحه را ببندید تا دیگر چیزی نرسد.",
    confirm_button="بله، برایم بفرستید",
    confirmed_title="سپاس، تأیید شد",
    confirmed="از این پس {brand} می‌تواند به {address} نامه بفرستد. در هر نامه پیوندی هست که با آن می‌توانید جلویش را بگیرید.",
    confirmed_before_title="پیش‌تر تأیید شده است",
    confirmed_before="به این نامه پیش‌تر پاسخ داده‌اید و کار دیگری نمانده است.",
    too_old_title="این نامه کهنه شده است",
    too_old="پیوند آن دیگر کار نمی‌کند. لطفاً یک بار دیگر ثبت‌نام کنید تا {brand} پیوند تازه‌ای بفرستد.",
    choices_title="نامه‌های {brand}",
    choices="آنچه اینجا انتخاب کنید برای {address} است.",
    topics="دربارهٔ چه چیزهایی برایتان بنویسیم؟",
    language="زبان",
    save="ذخیره",
    saved="ذخیره شد.",
    pause_title="این روزها زیاد است؟",
    pause="یک ماه استراحت کنید: تا آن زمان خبر و پیشنهادی نمی‌رسد و بعد خودبه‌خود از سر گرفته می‌شود.",
    pause_button="یک ماه توقف",
    paused="تا {date} خبر و پیشنهادی به شما نمی‌رسد.",
    resume_button="از همین حالا ادامه بدهید",
    leave_title="هیچ نامه‌ای نمی‌خواهید؟",
    leave="نامه‌های مربوط به سفارش‌ها و حساب شما همچنان می‌رسد.",
    leave_button="لغو همهٔ اشتراک‌ها",
    left="از {brand} خبر و پیشنهادی به شما نمی‌رسد. نامه‌های مربوط به سفارش‌ها و حساب شما همچنان می‌رسد.",
    return_button="دوباره خبر و پیشنهاد برایم بفرستید",
    months=("ژانویه", "فوریه", "مارس", "آوریل", "مه", "ژوئن", "ژوئیه", "اوت", "سپتامبر", "اکتبر", "نوامبر", "دسامبر"),
    digits="۰۱۲۳۴۵۶۷۸۹",
)
_LANGUAGES = {words.locale: words for words in (_ENGLISH, _ARABIC, _PERSIAN)}

_AUTONYMS = {
    "ar": "العربية",
    "bg": "Български",
    "bn": "বাংলা",
    "ca": "Català",
    "cs": "Čeština",
    "da": "Dansk",
    "de": "Deutsch",
    "el": "Ελληνικά",
    "en": "English",
    "es": "Español",
    "et": "Eesti",
    "fa": "فارسی",
    "fi": "Suomi",
    "fr": "Français",
    "ga": "Gaeilge",
    "he": "עברית",
    "hi": "हिन्दी",
    "hr": "Hrvatski",
    "hu": "Magyar",
    "id": "Bahasa Indonesia",
    "it": "Italiano",
    "ja": "日本語",
    "ko": "한국어",
    "ku": "کوردی",
    "lt": "Lietuvių",
    "lv": "Latviešu",
    "nb": "Norsk bokmål",
    "nl": "Nederlands",
    "pl": "Polski",
    "ps": "پښتو",
    "pt": "Português",
    "ro": "Română",
    "ru": "Русский",
    "sk": "Slovenčina",
    "sl": "Slovenščina",
    "sr": "Српски",
    "sv": "Svenska",
    "th": "ไทย",
    "tr": "Türkçe",
    "uk": "Українська",
    "ur": "اردو",
    "vi": "Tiếng Việt",
    "zh": "中文",
}


def words_for(*locales: str | None) -> Words:
    """The first of these languages that we speak, or English."""
    spoken = (_LANGUAGES.get(language_of(locale)) for locale in locales if locale)
    return next((words for words in spoken if words is not None), _ENGLISH)


def language_of(locale: str) -> str:
    """`fa` of `fa-IR`."""
    return locale.replace("_", "-").lower().partition("-")[0]


def name_of(locale: str) -> str:
    """What a language is called by those who speak it."""
    name, region = _AUTONYMS.get(language_of(locale)), locale.replace("_", "-").partition("-")[2].upper()
    return locale if name is None else f"{name} ({region})" if region else name
