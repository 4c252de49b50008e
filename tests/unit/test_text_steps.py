"""Each step of post-processing by examples: what it changes, and what it leaves alone."""

import pytest

from asrd_protocol.model import Segment
from asrd_worker.text import Chain, TextOptions


def done(text: str, *post: str, language: str = "", **more: object) -> str:
    """The text after these steps."""
    options = TextOptions(post=list(post), **more)  # type: ignore[arg-type]
    return Chain.of(options, language).apply(Segment(id=0, seek=0, start=0.0, end=1.0, text=text)).text


# --- fillers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "said", "meant"),
    [
        ("en", " Um, I think, uh, that it is, er good.", " I think that it is, good."),
        ("en", " Well, um. Uh... so yes.", " Well. So yes."),
        ("en", " I think um... we go", " I think... we go"),
        ("en", ' "Um I know," she said (uh).', ' "I know," she said.'),
        ("en", "Um, you and uh, me", "You and me"),
        ("en", " we um um, erm, go", " we go"),
        ("en", " so – uh – no", " so no"),
        ("en", " I,uh,know", " I know"),
        ("de", " Ähm, ich gehe um acht, öh, nach Hause, äh.", " Ich gehe um acht nach Hause."),
        ("de", " Er sagt hm nichts", " Er sagt nichts"),
        ("fr", " Euh, je pense, euh, que oui", " Je pense que oui"),
        ("es", " Eh, pues em sí", " Pues sí"),
        ("it", " Ehm, sì", " Sì"),
        ("pt", " Ahn, sim", " Sim"),
        ("nl", " Euh, ja", " Ja"),
        ("pl", " Yyy, tak", " Tak"),
        ("ru", " Ээ, да", " Да"),
        ("ko", " 음, 네 어 좋아요", " 네 좋아요"),
        ("zh", "嗯，我觉得，呃，这个好啊。啊，对", "我觉得这个好啊。对"),
        ("yue", "我嗯覺得", "我覺得"),
        ("zh-TW", "誒，對", "對"),
        ("ja", "えーと、あの、これはあのペンです。うーん、そう", "これはあのペンです。そう"),
    ],
)
def test_fillers_go_with_the_marks_that_are_theirs(language: str, said: str, meant: str) -> None:
    assert done(said, "fillers", language=language) == meant
    assert done(said, f"fillers:{language}") == meant


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", " I took him to the ER, 5 mm deep."),
        ("en", " Mm-hmm, uh-huh, umbrella, hum, album, err, Um's"),
        ("en", " er-um"),
        ("de", " Er geht um acht."),
        ("es", " este libro"),
        ("zh", "好啊，哎呀，金额"),
        ("ja", "これはあのペン、ええと言う"),
    ],
)
def test_words_that_only_look_like_fillers_stay(language: str, said: str) -> None:
    assert done(said, "fillers", language=language) == said


def test_a_segment_of_fillers_only_has_no_text() -> None:
    assert done(" Uh, um...", "fillers:en") == ""
    assert done("嗯。", "fillers:zh") == ""


def test_a_job_may_have_words_of_its_own_in_any_language() -> None:
    assert done(" You  know, it is, YOU KNOW, fine", "fillers", fillers=["you know"]) == " It is fine"
    assert done("那个我那个觉得", "fillers", language="zh", fillers=["那个"]) == "我觉得"
    assert done(" nu, ja um", "fillers", language="sv", fillers=["nu"]) == " ja um"
    assert done(" c++ and a.b but axb", "fillers", fillers=["a.b"]) == " c++ and but axb"


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "written"),
    [
        (" I paid one hundred and twenty-five dollars.", " I paid 125 dollars."),
        (" in nineteen eighty four, or twenty twenty", " in 1984, or 2020"),
        (" Forty-Two people", " 42 people"),
        (" three point one four", " 3.14"),
        (" the twenty first century", " the 21st century"),
        (" a hundred, and a thousand", " 100, and 1000"),
        (" seven hundred twenty one million", " 721000000"),
        (" twenty, five", " 20, 5"),
        (" twelve eleven, sixteen,twenty", " 12 11, 16,20"),
        (" one two three", " 1 2 3"),
    ],
)
def test_english_numbers_become_digits(said: str, written: str) -> None:
    assert done(said, "numbers", language="en") == written


@pytest.mark.parametrize(
    "said",
    [
        " I have one or two of them. Two or three go one by one",
        " no one knows, a second, the third man",
        " thousands of people, hundreds, a couple hundred, half a million",
        " three of the two and two",
        " 2 million, 42",
    ],
)
def test_english_words_that_are_no_clear_number_stay(said: str) -> None:
    assert done(said, "numbers", language="en") == said


@pytest.mark.parametrize(
    ("language", "said", "written"),
    [
        ("de", " einundzwanzig Leute und ein Hund", " 21 Leute und ein Hund"),
        ("de", " 2 tausend Leute", " 2 tausend Leute"),
        ("fr", " quatre-vingt-dix-neuf francs", " 99 francs"),
        ("es", " treinta y dos", " 32"),
        ("it", " ventuno", " 21"),
        ("pt", " trinta e dois", " 32"),
        ("nl", " eenentwintig", " 21"),
        ("da", " enogtyve", " 21"),
    ],
)
def test_numbers_of_other_languages(language: str, said: str, written: str) -> None:
    assert done(said, "numbers", language=language) == written


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("一二三", "123"),
        ("一百二十三个人", "123个人"),
        ("十二", "12"),
        ("两千零五", "2005"),
        ("两百五", "250"),
        ("一万二", "12000"),
        ("一万零二", "10002"),
        ("一百一十二万三千", "1123000"),
        ("三亿五千萬", "350000000"),
        ("一亿零三", "100000003"),
        ("三万亿", "3000000000000"),
        ("三点一四", "3.14"),
        ("十二點五公里", "12.5公里"),
        ("百分之五十", "50%"),
        ("百分之三点五", "3.5%"),
        ("百分之百", "100%"),
        ("三分之二", "2/3"),
        ("负五十度", "-50度"),
        ("第二十一", "第21"),
        ("二零二四年十月一日三点半", "2024年10月1日3点半"),
        ("九八年", "98年"),
        ("三点二十分", "3点20分"),
        ("两小时十分钟", "2小时10分钟"),
        ("幺三八零零", "13800"),
        ("二〇二四", "2024"),
    ],
)
def test_chinese_numbers_become_digits(said: str, written: str) -> None:
    assert done(said, "numbers", language="zh") == written


@pytest.mark.parametrize(
    "said",
    [
        *(
            "一个人一起统一",
            "第三",
            "一些",
            "万一",
            "千万不要",
            "十分好",
            "乱七八糟",
            "七八个",
            "三四十",
            "十七八",
            "两三百",
        ),
        *(
            "几十",
            "二十几个",
            "数百",
            "一点一点地",
            "一点",
            "一五一十",
            "五一",
            "两两",
            "百八十",
            "零",
            "三百百",
            "一百零",
        ),
        *("千分之五点五", "一万一万", "三亿亿", "万" * 5_000, "一" * 1 + "万" * 50),
    ],
)
def test_chinese_words_that_are_no_clear_number_stay(said: str) -> None:
    assert done(said, "numbers", language="zh") == said


# --- Chinese variants -------------------------------------------------------------------------------------------------


def test_variants_go_by_phrases() -> None:
    assert done("头发发展", "opencc:s2t") == "頭髮發展"
    assert done("软件和内存", "opencc:s2twp", language="zh") == "軟體和記憶體"
    assert done("軟體和記憶體", "opencc:tw2sp") == "软件和内存"
    assert done("國", "opencc:t2jp", language="ja") == "国"
    assert done(" no Chinese in it", "opencc:s2t") == " no Chinese in it"


# --- width and punctuation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("ＡＢＣ　１２３％", "ABC 123%"),
        ("３．５＋￥５", "3.5+¥5"),
        ("ｶﾞｷﾞｱﾞ｡", "ガギアﾞ。"),
        ("你好，世界！（一）：？；～", "你好，世界！（一）：？；～"),
    ],
)
def test_width(given: str, made: str) -> None:
    assert done(given, "width") == made


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (" Hello，world。ok（x）！", " Hello, world. ok (x)!"),
        (" “q” it’s ‘so’ „gut“", ' "q" it\'s \'so\' "gut"'),
        (" at ３，５：０", " at ３,５:０"),
        ("３，５", "３，５"),
        (" a  b\tc\n d", " a b c d"),
        ("你好, 世界. 我用Python, 你用Java.", "你好，世界。我用Python，你用Java."),
        ("版本3.5和10:30, 见http://a.b/c 吗?", "版本3.5和10:30，见http://a.b/c 吗？"),
        ("他说“it’s”(好)...", "他说“it's”（好）..."),
        ("これは, ペン. です", "これは、ペン。です"),
        ("你 好 Hello 世 界 ， a  b", "你好 Hello 世界，a b"),
        (" 你好 。 ", " 你好。"),
        (" 안녕하세요, 네. 좋아요 ?", " 안녕하세요, 네. 좋아요 ?"),
        ("，", "，"),
    ],
)
def test_punctuation(given: str, made: str) -> None:
    assert done(given, "punctuation") == made


# --- terms ------------------------------------------------------------------------------------------------------------


def test_the_longest_term_wins_once_from_left_to_right() -> None:
    written = {"as red": "asrd", "as": "AS", "red": "Red Hat", "as red daemon": "the daemon"}
    assert done(" as red As  Red, as red daemon as", "terms", terms=written) == " asrd asrd, the daemon AS"


def test_a_term_with_a_capital_is_found_as_it_is_given() -> None:
    assert done(" us US Us", "terms", terms={"US": "United States"}) == " us United States Us"
    assert done(" us US Us", "terms", terms={"us": "them", "US": "United States"}) == " them United States them"


def test_a_term_is_no_part_of_a_word_but_stands_in_unspaced_text() -> None:
    assert (
        done(" reds red's infrared red_ c++ C++", "terms", terms={"red": "R", "c++": "cpp"})
        == " reds R's infrared red_ cpp cpp"
    )
    assert done("我爱内存条", "terms", terms={"内存": "RAM"}) == "我爱RAM条"


def test_a_term_is_no_pattern() -> None:
    assert done(" axb a.b a\\1", "terms", terms={"a.b": "(x)\\1", "a\\1": "\\g<0>"}) == " axb (x)\\1 \\g<0>"


# --- order ------------------------------------------------------------------------------------------------------------


def test_steps_are_done_in_the_order_of_the_job() -> None:
    terms = {"twenty": "XX", "20": "score"}
    assert done(" twenty", "numbers:en", "terms", terms=terms) == " score"
    assert done(" twenty", "terms", "numbers:en", terms=terms) == " XX"
    assert done("繁头", "opencc:s2t", "opencc:t2s") == "繁头"
