"""Texts of the export tab."""

from __future__ import annotations

from lep_core.export.remarks import ENGLISH

TEXTS: dict[str, tuple[str, str]] = {
    "export.intro": (
        "Writes the model for others: a folder for transformers, vLLM and Hugging Face, or one GGUF file for llama.cpp and Ollama. What was written is "
        "loaded again and compared with the original.",
        "Записывает модель для других: папку для transformers, vLLM и Hugging Face или один файл GGUF для llama.cpp и Ollama. Записанное заново "
        "загружается и сравнивается с исходным.",
    ),
    "export.start": ("Export", "Экспортировать"),
    "export.start_and_upload": ("Export and upload", "Экспортировать и загрузить"),
    "export.upload": ("Upload to the hub", "Загрузка в хаб"),
    "export.upload_confirm": (
        "Yes, upload the result: it leaves this machine, and others may see it",
        "Да, загрузить результат: он покинет этот компьютер, и его смогут увидеть другие",
    ),
    "export.upload_unconfirmed": (
        "the upload to {repository} is not confirmed",
        "загрузка в {repository} не подтверждена",
    ),
    "export.upload_unconfirmed_hint": (
        "Tick the box below the repository's name, or clear the name",
        "Поставьте отметку под именем репозитория или сотрите имя",
    ),
    "export.no_upload.offline": (
        "Uploading to the hub is off: LEP Studio runs offline (HF_HUB_OFFLINE is set).",
        "Загрузка в хаб выключена: LEP Studio работает без сети (задана переменная HF_HUB_OFFLINE).",
    ),
    "export.no_upload.token": (
        "To upload to the hub from here, start LEP Studio with a token in HF_TOKEN.",
        "Чтобы загружать отсюда в хаб, запустите LEP Studio с токеном в переменной HF_TOKEN.",
    ),
    "export.before": ("Before you begin", "Перед началом"),
    "export.possible": ("This can be exported", "Экспорт возможен"),
    "export.impossible": ("This cannot be exported so", "Так экспортировать нельзя"),
    "export.this_model": ("Model `{fingerprint}`", "Модель `{fingerprint}`"),
    "export.about_size": ("about {mib} MiB of weights", "весов около {mib} МиБ"),
    "export.checkpoint": ("Weights: {checkpoint}", "Веса: {checkpoint}"),
    "export.select": ("Exported", "Экспортировано"),
    "export.none": ("Nothing exported yet.", "Ещё ничего не экспортировано."),
    "export.folder": ("Where it is on the server", "Где лежит на сервере"),
    "export.card": ("Model card", "Карточка модели"),
    "export.card_preview": ("As the hub shows it", "Как покажет хаб"),
    "export.card_source": ("README.md", "README.md"),
    "export.no_card": ("There is no model card.", "Карточки модели нет."),
    "export.logits_equal": (
        "Loaded with {reader} it computes equal logits, bit by bit",
        "После загрузки в {reader} вычисляет те же логиты, бит в бит",
    ),
    "export.logits_near": (
        "Loaded with {reader} its logits differ by at most {difference}",
        "После загрузки в {reader} логиты отличаются не больше чем на {difference}",
    ),
    "export.logits_unchecked": (
        "Logits were not compared: the model is too large to be loaded twice, or transformers cannot read this file",
        "Логиты не сравнивались: модель слишком велика, чтобы загружать её дважды, или transformers не читает такой файл",
    ),
    "export.weights_equal": (
        "All weights, read back from the file, are equal bit by bit",
        "Все веса, прочитанные из файла, совпадают бит в бит",
    ),
    "export.weights_rounded": (
        "All weights were read back; rounding moved them by at most {share} of the largest nearby",
        "Все веса прочитаны из файла; округление сдвинуло их не больше чем на {share} от наибольшего рядом",
    ),
    "export.ids_equal": ("Token ids by {reader} are equal", "Номера токенов по {reader} те же"),
    "export.ids_counted": (
        "Token ids by {reader}: {equal} of {lines} lines equal ({tokens} tokens)",
        "Номера токенов по {reader}: совпали строки {equal} из {lines} (токенов: {tokens})",
    ),
    "export.size": ("{mib} MiB in {files} files", "{mib} МиБ, файлов: {files}"),
    "export.size_linked": (
        "{mib} MiB in {files} files; the weights take no new space, {linked} are shared with the model's own folder",
        "{mib} МиБ, файлов: {files}; веса не занимают нового места, общих с папкой модели: {linked}",
    ),
    "export.uploaded": ("Uploaded to {address}", "Загружено: {address}"),
    # What is to be known before an export. The English words are those of the command line (`lep_core.export.remarks`).
    "export.remark.large": (
        ENGLISH["large"],
        "модель слишком велика, чтобы загружать её дважды, поэтому логиты не сравниваются; файлы весов те же самые",
    ),
    "export.remark.pre": (ENGLISH["pre"], "llama.cpp будет делить текст по своим правилам {pre}, они такие же, как у этого токенизатора"),
    "export.remark.scores": (
        ENGLISH["scores"],
        "llama.cpp соединяет части по оценкам, а не по слияниям; на {tokens:,} токенах пробного текста номера те же",
    ),
    "export.remark.splits": (
        ENGLISH["splits"],
        "в llama.cpp есть {splits:,} способов соединить две части, которых нет у этого токенизатора: редкие слова там могут делиться иначе",
    ),
    "export.remark.tokens_differ": (
        ENGLISH["tokens_differ"],
        "llama.cpp делит иначе {share:.3%} токенов пробного текста, потому что соединяет части по оценкам, а не по слияниям",
    ),
    "export.remark.nfc": (
        ENGLISH["nfc"],
        "этот токенизатор сначала соединяет буквы с надстрочными знаками (NFC), llama.cpp нет: текст с отдельными знаками там делится иначе",
    ),
    "export.remark.leading_space": (
        ENGLISH["leading_space"],
        "llama.cpp ставит пробел и перед текстом, который с пробела начинается, этот токенизатор нет",
    ),
    "export.remark.after_special": (
        ENGLISH["after_special"],
        "llama.cpp ставит пробел после каждого служебного токена, этот токенизатор только в начале текста",
    ),
    "export.remark.strip": (ENGLISH["strip"], "токен {token} поглощает пробелы вокруг себя, llama.cpp их оставляет"),
    "export.remark.window": (
        ENGLISH["window"],
        "llama.cpp не учитывает скользящее окно в {window:,} токенов: более длинные тексты видны целиком",
    ),
    "export.remark.dynamic_rope": (
        ENGLISH["dynamic_rope"],
        "llama.cpp не масштабирует позиции на ходу: тексты длиннее {positions:,} токенов станут хуже",
    ),
    "export.remark.rounded": (ENGLISH["rounded"], "веса записаны в {dtype} и будут округлены до {quantization}"),
    "export.remark.unknown_end": (
        ENGLISH["unknown_end"],
        "токенизатор не называет завершающего токена: ответ может не закончиться сам",
    ),
}
