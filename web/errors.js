/**
 * What Python and the document model say of a canvas, in the language of the page.
 *
 * Errors, notes and reports are made in English, where they are found. Here stands each of their templates with its
 * translations: a text that fits one is said anew with the same values. One that fits none stays English.
 */

/**
 * English, Chinese, Japanese. `{name}` stands for any text, or for one of PARTS if it is called so.
 * @typedef {[string, string, string]} Template
 */

/** @type {Template[]} the first that fits is taken */
const MESSAGES = [
  ["{message} (and {count} more)", "{message}（另有 {count} 处）", "{message}（ほか{count}件）"],

  // the text of a document
  [
    "the canvas has {bytes} bytes: use at most {most}, and keep media in files",
    "画布有 {bytes} 字节：最多 {most}，媒体请存为文件",
    "キャンバスが{bytes}バイトあります：{most}以下にし、メディアはファイルに置いてください",
  ],
  [
    "the canvas is no JSON: {what} at line {line}, column {column}",
    "画布不是有效的 JSON：第 {line} 行第 {column} 列，{what}",
    "キャンバスが正しいJSONではありません：{line}行{column}列、{what}",
  ],
  [
    "the canvas is nested too deeply: a canvas needs {levels} levels",
    "画布嵌套过深：画布只需要 {levels} 层",
    "キャンバスの入れ子が深すぎます：必要なのは{levels}段です",
  ],
  ["the canvas is {seen}: use an object", "画布是{seen}：请用对象", "キャンバスが{seen}です：オブジェクトにしてください"],
  ["the canvas is {seen}: use a text", "画布是{seen}：请用文本", "キャンバスが{seen}です：テキストにしてください"],
  [
    "the key {key} stands twice in one object: remove one",
    "键 {key} 在同一对象中出现两次：请删去一个",
    "キー{key}が1つのオブジェクトに2回あります：片方を消してください",
  ],
  [
    "{number}... has {count} digits: use a smaller number",
    "{number}…… 有 {count} 位数字：请用更小的数",
    "{number}……は{count}桁です：もっと小さな数にしてください",
  ],
  [
    "{path} is missing: a canvas begins with format {format} and version {version}",
    "缺少 {path}：画布须以 format {format} 和 version {version} 开头",
    "{path}がありません：キャンバスはformat {format}とversion {version}で始まります",
  ],
  ["format is {seen}: use {format}", "format 为{seen}：请用 {format}", "formatが{seen}です：{format}にしてください"],
  [
    "version is {seen}, this SkyCanvas reads {known}: update SkyCanvas, or save the canvas with an older one",
    "version 为{seen}，此 SkyCanvas 可读 {known}：请更新 SkyCanvas，或用旧版保存画布",
    "versionが{seen}です。このSkyCanvasが読めるのは{known}です：SkyCanvasを更新するか、古い版でキャンバスを保存してください",
  ],
  [
    "version is {seen}, this SkyCanvas reads {known}: use {version}",
    "version 为{seen}，此 SkyCanvas 可读 {known}：请用 {version}",
    "versionが{seen}です。このSkyCanvasが読めるのは{known}です：{version}にしてください",
  ],

  // its fields
  ["{path} is missing: add it", "缺少 {path}：请添加", "{path}がありません：追加してください"],
  [
    "{path} is missing: it may be left open only where a file or an input is named",
    "缺少 {path}：只有指定了文件或输入时才可省略",
    "{path}がありません：省けるのはファイルか入力を指定した場合だけです",
  ],
  [
    "{path} is no field of a canvas: remove it",
    "{path} 不是画布的字段：请删去",
    "{path}はキャンバスの項目ではありません：消してください",
  ],
  [
    "{path} has {count} entries: use {most} or fewer",
    "{path} 有 {count} 项：最多 {most} 项",
    "{path}に{count}件あります：{most}件以下にしてください",
  ],
  [
    "{path}.kind is missing or unknown: use box, mask or span",
    "{path}.kind 缺失或未知：请用 box、mask 或 span",
    "{path}.kindがないか不明です：box、mask、spanのどれかにしてください",
  ],
  [
    "a key of media is {seen}: {rule}",
    "media 的一个键为{seen}：{rule}",
    "mediaのキーが{seen}です：{rule}",
  ],
  [
    "{path} is {seen}: leave it out, of kind {kind}",
    "{path} 为{seen}：{kind}没有此项，请删去",
    "{path}が{seen}です：{kind}にはない項目なので消してください",
  ],
  [
    "{path} is {seen}, and file {file}: give one of them",
    "{path} 为{seen}，file 为 {file}：只能给出其一",
    "{path}が{seen}、fileが{file}です：どちらか一方にしてください",
  ],
  [
    "{path} is {seen}, as {first}: use another {field}",
    "{path} 为{seen}，与 {first} 相同：请用别的 {field}",
    "{path}が{seen}で、{first}と同じです：別の{field}にしてください",
  ],
  [
    "{path} is {seen}, which is not in media: use one of its names (none)",
    "{path} 为{seen}，media 中没有它：media 是空的",
    "{path}が{seen}ですが、mediaにありません：mediaは空です",
  ],
  [
    "{path} is {seen}, which is not in media: use one of its names ({names})",
    "{path} 为{seen}，media 中没有它：请用其中的名称（{names}）",
    "{path}が{seen}ですが、mediaにありません：そこにある名前（{names}）を使ってください",
  ],
  [
    "{path} is {seen}, of kind {kind}: use one of kind {kinds}",
    "{path} 为{seen}，是{kind}：请用{kinds}",
    "{path}が{seen}で、{kind}です：{kinds}を使ってください",
  ],
  [
    "{path} is {seen}, its media is of kind {kind}: use {tag}..., or a name of its own such as @Actor-0",
    "{path} 为{seen}，其媒体是{kind}：请用 {tag}……，或 @Actor-0 之类的自定义名称",
    "{path}が{seen}ですが、メディアは{kind}です：{tag}……か、@Actor-0のような独自の名前にしてください",
  ],

  // space and time
  [
    "{path} is {value}, of {frames} frames: use {from} to {to}",
    "{path} 为 {value}，共 {frames} 帧：请用 {from} 到 {to}",
    "{path}が{value}ですが、全{frames}フレームです：{from}から{to}にしてください",
  ],
  [
    "{path} is {value}, of {frames} frames: use fewer keys",
    "{path} 为 {value}，共 {frames} 帧：请减少关键帧",
    "{path}が{value}ですが、全{frames}フレームです：キーを減らしてください",
  ],
  [
    "{path} is {size}, the mask is {mask}: a mask moves, but keeps its size",
    "{path} 为 {size}，遮罩为 {mask}：遮罩可以移动，但尺寸不变",
    "{path}が{size}、マスクが{mask}です：マスクは動けますが、大きさは変えられません",
  ],
  [
    "{path} is {size} at {place}, and so is its path, wholly outside the frame of {frame}: let it overlap the frame",
    "{path} 为 {size}，位于 {place}，连同其路径完全在 {frame} 的画面之外：请让它与画面重叠",
    "{path}は{place}の{size}で、その経路も含めて{frame}の画面の完全に外側です：画面に重なるようにしてください",
  ],
  [
    "{path} is {size} at {place}, wholly outside the frame of {frame}: let it overlap the frame",
    "{path} 为 {size}，位于 {place}，完全在 {frame} 的画面之外：请让它与画面重叠",
    "{path}は{place}の{size}で、{frame}の画面の完全に外側です：画面に重なるようにしてください",
  ],
  [
    "{path} is {value}, outside the canvas of {frames} frames: use 0 to {last}",
    "{path} 为 {value}，超出 {frames} 帧的画布：请用 0 到 {last}",
    "{path}が{value}で、{frames}フレームのキャンバスの外です：0から{last}にしてください",
  ],
  [
    "{path} is {value}, outside the canvas of {seconds} s: use less than that",
    "{path} 为 {value}，超出 {seconds} 秒的画布：请用更小的值",
    "{path}が{value}で、{seconds}秒のキャンバスの外です：それより小さくしてください",
  ],
  [
    "{path} is {value}, from frame {frame} on past the end of a canvas of {frames} frames: use {most} or fewer",
    "{path} 为 {value}，从第 {frame} 帧起超出 {frames} 帧的画布结尾：最多 {most}",
    "{path}が{value}で、フレーム{frame}から{frames}フレームのキャンバスの終わりを越えます：{most}以下にしてください",
  ],
  [
    "{path} is {value}, more than a clip of {frames} frames at {fps} fps fills from {start} s on: use fewer frames, or an " +
      "earlier start",
    "{path} 为 {value}，多于 {frames} 帧、{fps} fps 的片段从 {start} 秒起所能填满的：请减少帧数，或提前起点",
    "{path}が{value}で、{frames}フレーム（{fps} fps）のクリップが{start}秒から埋められる長さを越えます：フレーム数を減らすか、開始を早めてください",
  ],
  [
    "{path} is {value}, more than a sound of {seconds} s has from {start} s on: use {most} or less, or an earlier start",
    "{path} 为 {value}，多于 {seconds} 秒的声音从 {start} 秒起的剩余：最多 {most}，或提前起点",
    "{path}が{value}で、{seconds}秒の音声の{start}秒以降より長いです：{most}以下にするか、開始を早めてください",
  ],
  [
    "{path} is {value}, past the end of a {kind} of {seconds} s: use less than that",
    "{path} 为 {value}，超出 {seconds} 秒的{kind}的结尾：请用更小的值",
    "{path}が{value}で、{seconds}秒の{kind}の終わりを越えます：それより小さくしてください",
  ],
  [
    "{path} is {value}: an image has no time, use 0",
    "{path} 为 {value}：图像没有时间，请用 0",
    "{path}が{value}です：画像に時間はないので0にしてください",
  ],
  [
    "{path} is a mask {value} pixels wide: use one {needed} wide",
    "{path} 是宽 {value} 像素的遮罩：请用宽 {needed} 的",
    "{path}は幅{value}ピクセルのマスクです：幅{needed}のものを使ってください",
  ],
  [
    "{path} is a mask {value} pixels high: use one {needed} high",
    "{path} 是高 {value} 像素的遮罩：请用高 {needed} 的",
    "{path}は高さ{value}ピクセルのマスクです：高さ{needed}のものを使ってください",
  ],
  [
    "{path} is a mask of {count} frames: use one of {allowed}",
    "{path} 是 {count} 帧的遮罩：请用 {allowed} 帧的",
    "{path}は{count}フレームのマスクです：{allowed}フレームのものを使ってください",
  ],

  [
    "to is given, but frames is 1: a box that moves needs 2 or more",
    "给出了 to，但 frames 为 1：移动的框需要 2 帧或更多",
    "toがありますが、framesが1です：動く枠には2以上が必要です",
  ],

  // the latent grids
  ["length {value} is not {form}: {rule}", "长度 {value} 不是 {form}：{rule}", "長さ{value}は{form}ではありません：{rule}"],
  [
    "width {value} is not a multiple of {step}: {rule}",
    "宽度 {value} 不是 {step} 的倍数：{rule}",
    "幅{value}は{step}の倍数ではありません：{rule}",
  ],
  [
    "height {value} is not a multiple of {step}: {rule}",
    "高度 {value} 不是 {step} 的倍数：{rule}",
    "高さ{value}は{step}の倍数ではありません：{rule}",
  ],
  [
    "the canvas of {size} pixels and {frames} frames has {cells} latent cells: use a smaller or shorter one, of at most " +
      "{most}",
    "{size} 像素、{frames} 帧的画布有 {cells} 个 Latent 单元格：请改小或改短，最多 {most} 个",
    "{size}ピクセル、{frames}フレームのキャンバスには潜在セルが{cells}個あります：小さくするか短くして{most}個以下にしてください",
  ],
  [
    "the canvas of {frames} frames at {fps} per second lasts {value} s: use fewer frames or a higher fps, for {most} s at " +
      "most",
    "{frames} 帧、每秒 {fps} 帧的画布长 {value} 秒：请减少帧数或提高 fps，最多 {most} 秒",
    "{frames}フレーム、毎秒{fps}フレームのキャンバスは{value}秒になります：フレームを減らすかfpsを上げて、最大{most}秒にしてください",
  ],
  [
    "{name} is empty, of shape {shape}: connect one that has something in it",
    "{name} 是空的，形状为 {shape}：请连接有内容的输入",
    "{name}は空です（形状{shape}）：中身のあるものをつないでください",
  ],
  ["routing is '{value}': use {names}", "送入方式为 '{value}'：请用 {names}", "ルーティングが'{value}'です：{names}にしてください"],

  // what an edit cannot do
  [
    "{item} has a mask with a picture for each of its {frames} frames, and masks have no start: it can be moved, not " +
      "trimmed or split; cut the mask itself before it comes here",
    "{item} 的遮罩对它的 {frames} 帧各有一张图像，而遮罩没有起点：可以移动，不能裁剪或拆分；请先裁剪遮罩本身，再放到这里",
    "{item}のマスクは{frames}フレームのそれぞれに1枚の画像があり、マスクには開始位置がありません：移動はできますが、トリムや分割はできません。先にマスク自体を切ってください",
  ],
  [
    "frame is {value}, not inside {item}: use one after {first} and before {end}",
    "帧 {value} 不在 {item} 之内：请选 {first} 之后、{end} 之前的一帧",
    "フレーム{value}は{item}の中にありません：{first}より後、{end}より前にしてください",
  ],
  [
    "frame is {value}, {item} has no key there: use one of {keys}",
    "{item} 在第 {value} 帧没有关键帧：请选 {keys} 之一",
    "{item}のフレーム{value}にキーはありません：{keys}から選んでください",
  ],
  [
    "frame is {value}, outside {item}: use {from} to {to}",
    "帧 {value} 在 {item} 之外：请用 {from} 到 {to}",
    "フレーム{value}は{item}の外です：{from}から{to}にしてください",
  ],
  [
    "nothing of it fits into {size} pixels and {frames} frames: copy an item, and paste it at an earlier frame",
    "没有任何内容能放进 {size} 像素、{frames} 帧：请复制一个项目，并粘贴到更早的帧",
    "{size}ピクセル、{frames}フレームに入るものがありません：項目をコピーして、もっと前のフレームに貼り付けてください",
  ],
  [
    "{item} is no item of the canvas: it may have been removed",
    "{item} 不是画布上的项目：可能已被删除",
    "{item}はキャンバスの項目ではありません：すでに消されたのかもしれません",
  ],

  // media, in files and on wires
  ["media {name} (from {origin}): {message}", "媒体 {name}（来自 {origin}）：{message}", "メディア{name}（{origin}から）：{message}"],
  ["media {name}: {message}", "媒体 {name}：{message}", "媒体{name}：{message}"],
  [
    "media {name} (from {origin}) is not there: load it first",
    "媒体 {name}（来自 {origin}）不存在：请先加载",
    "メディア{name}（{origin}から）がありません：先に読み込んでください",
  ],
  [
    "media {name} has shape {shape}: the document says {needed}",
    "媒体 {name} 的形状为 {shape}：文档中为 {needed}",
    "メディア{name}の形状は{shape}です：ドキュメントでは{needed}です",
  ],
  [
    "media.{name} is {value}, but {origin} has {now}",
    "media.{name} 为 {value}，但 {origin} 为{now}",
    "media.{name}は{value}ですが、{origin}は{now}です",
  ],
  [
    "{name} leads out of ComfyUI's input folder: put the file itself there, not a link to it",
    "{name} 指向 ComfyUI 输入文件夹之外：请放入文件本身，而不是链接",
    "{name}はComfyUIの入力フォルダーの外を指しています：リンクではなくファイルそのものを置いてください",
  ],
  [
    "{name} is not in ComfyUI's input folder: put it there, or choose another file",
    "{name} 不在 ComfyUI 的输入文件夹中：请放进去，或选择其他文件",
    "{name}はComfyUIの入力フォルダーにありません：そこに置くか、別のファイルを選んでください",
  ],
  [
    "{name} is {thing}: it cannot be used as {use}; choose another one",
    "{name} 是{thing}：不能用作{use}；请另选",
    "{name}は{thing}です：{use}としては使えないので、別のものを選んでください",
  ],
  [
    "{name} has no sound: it cannot be used as a sound; choose another one",
    "{name} 没有声音：不能用作声音；请另选",
    "{name}には音がありません：音声としては使えないので、別のものを選んでください",
  ],
  [
    "{name} is {width} x {height} pixels: use at most {side} along a side, and {most} in all",
    "{name} 为 {width} x {height} 像素：每边最多 {side}，总共最多 {most}",
    "{name}は{width} x {height}ピクセルです：1辺は{side}以下、全体で{most}以下にしてください",
  ],
  [
    "{name} has too many pixels: use at most {most}",
    "{name} 像素过多：最多 {most}",
    "{name}のピクセルが多すぎます：{most}以下にしてください",
  ],
  [
    "{name} cannot be read from {seconds} s on: the file is damaged ({what}); write it again in another program",
    "{name} 从 {seconds} 秒起无法读取：文件已损坏（{what}）；请用其他程序重新写出",
    "{name}は{seconds}秒以降を読めません：ファイルが壊れています（{what}）。別のプログラムで書き直してください",
  ],
  [
    "{name} cannot be read: the file is damaged ({what}); write it again in another program",
    "{name} 无法读取：文件已损坏（{what}）；请用其他程序重新写出",
    "{name}を読めません：ファイルが壊れています（{what}）。別のプログラムで書き直してください",
  ],
  [
    "{name} is an animated WebP, which cannot be read: write it as GIF or MP4",
    "{name} 是动态 WebP，无法读取：请存为 GIF 或 MP4",
    "{name}はアニメーションWebPで、読めません：GIFかMP4にしてください",
  ],
  [
    "{name} is no picture, video or sound that can be read: use {formats}",
    "{name} 不是可读取的图像、视频或声音：请用 {formats}",
    "{name}は読める画像、ビデオ、音声ではありません：{formats}を使ってください",
  ],
  [
    "{name} has no picture that can be decoded: choose another file",
    "{name} 没有可解码的画面：请选择其他文件",
    "{name}にはデコードできる映像がありません：別のファイルを選んでください",
  ],
  [
    "{name} has no sound that can be decoded: choose another file",
    "{name} 没有可解码的声音：请选择其他文件",
    "{name}にはデコードできる音声がありません：別のファイルを選んでください",
  ],
  [
    "{name} does not say how fast its pictures follow: write it again as MP4",
    "{name} 没有说明帧率：请重新存为 MP4",
    "{name}はフレームレートを示していません：MP4で書き直してください",
  ],
  [
    "{name} does not say how long it is: write it again in another program",
    "{name} 没有说明长度：请用其他程序重新写出",
    "{name}は長さを示していません：別のプログラムで書き直してください",
  ],
  ["{name} ends before {seconds} s: trim it less", "{name} 不到 {seconds} 秒：请少裁一些", "{name}は{seconds}秒より前に終わります：切り取りを減らしてください"],
  [
    "{name} ends after {value} s, its header says {said} s: the file is damaged; write it again, or show less of it",
    "{name} 在 {value} 秒后结束，文件头却说 {said} 秒：文件已损坏；请重新写出，或少显示一些",
    "{name}は{value}秒で終わりますが、ヘッダーでは{said}秒です：ファイルが壊れています。書き直すか、使う長さを減らしてください",
  ],
  [
    "{name} changes to {width} x {height} pixels after {seconds} s: cut it there",
    "{name} 在 {seconds} 秒后变为 {width} x {height} 像素：请在该处剪开",
    "{name}は{seconds}秒で{width} x {height}ピクセルに変わります：そこで切ってください",
  ],
  [
    "{name}: {value} s of it are used; use at most {most} s",
    "{name}：用到了 {value} 秒；最多 {most} 秒",
    "{name}：{value}秒使われています。{most}秒以下にしてください",
  ],
  [
    "{name} has {seconds} s less of sound than its header says: the file is damaged; write it again, or play less of it",
    "{name} 的声音比文件头所说少 {seconds} 秒：文件已损坏；请重新写出，或少播放一些",
    "{name}の音声はヘッダーより{seconds}秒短いです：ファイルが壊れています。書き直すか、使う長さを減らしてください",
  ],
  ["{name} has {count} channels: use 1 to {most}", "{name} 有 {count} 个声道：请用 1 到 {most} 个", "{name}は{count}チャンネルです：1から{most}にしてください"],
  [
    "{name} has {rate} Hz, too odd a rate to resample to {target} Hz: use a sound of {goal} Hz",
    "{name} 为 {rate} Hz，这一采样率无法重采样到 {target} Hz：请用 {goal} Hz 的声音",
    "{name}は{rate} Hzで、{target} Hzにリサンプルできません：{goal} Hzの音声を使ってください",
  ],
  [
    "{name} has a sample rate of {rate} Hz: use 1 or more",
    "{name} 的采样率为 {rate} Hz：请用 1 或更大",
    "{name}のサンプルレートが{rate} Hzです：1以上にしてください",
  ],
  [
    "{name} is a batch of {count} sounds: connect one",
    "{name} 是 {count} 个声音的批次：请连接一个",
    "{name}は{count}個の音声のバッチです：1つだけつないでください",
  ],
  ["{name} is empty: the file has no sound", "{name} 为空：文件没有声音", "{name}は空です：ファイルに音がありません"],
  [
    "input {name} is not connected (nothing is connected): connect it, or remove the media",
    "输入 {name} 未连接（没有任何连接）：请连接它，或移除该媒体",
    "入力{name}がつながっていません（何もつながっていません）：つなぐか、メディアを外してください",
  ],
  [
    "input {name} is not connected (connected: {names}): connect it, or remove the media",
    "输入 {name} 未连接（已连接：{names}）：请连接它，或移除该媒体",
    "入力{name}がつながっていません（接続済み：{names}）：つなぐか、メディアを外してください",
  ],
  [
    "it names no file and no input, so it cannot be loaded: put it on the canvas again",
    "它没有指定文件或输入，无法加载：请重新放到画布上",
    "ファイルも入力も指定されていないので読み込めません：もう一度キャンバスに置いてください",
  ],
  [
    "{fact} was {before} and is {now} now: the file has changed; put it on the canvas again, or bring the old one back",
    "{fact} 原为 {before}，现为 {now}：文件已更改；请重新放到画布上，或恢复旧文件",
    "{fact}は{before}でしたが、今は{now}です：ファイルが変わりました。もう一度キャンバスに置くか、元のファイルに戻してください",
  ],
  [
    "{name} has not been seen yet: run the workflow once, then its size is known",
    "尚未见过 {name}：请先运行一次工作流，之后便知道其尺寸",
    "{name}をまだ見ていません：ワークフローを1回実行すると大きさがわかります",
  ],
  [
    "what the canvas shows and plays takes {total} GiB of memory, {free} GiB are free; the largest is a {kind} of {size} " +
      "pixels and {frames} frames: show fewer frames of it, or make it smaller first",
    "画布所显示和播放的内容需要 {total} GiB 内存，可用 {free} GiB；最大的是 {size} 像素、{frames} 帧的{kind}：请少显示几帧，或先缩小",
    "キャンバスが表示・再生するものに{total} GiBのメモリが必要ですが、空きは{free} GiBです。最大は{size}ピクセル、{frames}フレームの{kind}です：表示するフレームを減らすか、先に小さくしてください",
  ],
  [
    "placements[{index}].fit is {fit}: it would enlarge {from} to {to} pixels, more than {most}: crop the picture first, " +
      "or use a smaller box",
    "placements[{index}].fit 为 {fit}：会把 {from} 放大到 {to} 像素，超过 {most}：请先裁剪图像，或用更小的框",
    "placements[{index}].fitが{fit}です：{from}を{to}ピクセルに拡大することになり、{most}を越えます。先に画像を切り取るか、枠を小さくしてください",
  ],
  [
    "the media of sound '{name}' has no known length: load it first",
    "声音 '{name}' 的媒体长度未知：请先加载",
    "音声'{name}'のメディアの長さが不明です：先に読み込んでください",
  ],
  ["the {kind} has 4 channels: its opacity is a mask of its own", "{kind}有 4 个通道：其不透明度须为单独的遮罩", "{kind}に4チャンネルあります：不透明度は別のマスクにしてください"],
  [
    "alpha is {mask}, the {kind} {size}: use equal sizes",
    "alpha 为 {mask}，{kind}为 {size}：请用相同的尺寸",
    "alphaが{mask}、{kind}が{size}です：同じ大きさにしてください",
  ],
  [
    "alpha has {count} frames: use {allowed}",
    "alpha 有 {count} 帧：请用 {allowed} 帧",
    "alphaが{count}フレームです：{allowed}フレームにしてください",
  ],
  [
    "the image is a batch of {count}: use it as a clip, or pick one",
    "图像是 {count} 张的批次：请作为视频片段使用，或取出一张",
    "画像は{count}枚のバッチです：クリップとして使うか、1枚を選んでください",
  ],
  ["the {kind} has shape {shape}: use {form}", "{kind}的形状为 {shape}：请用 {form}", "{kind}の形状が{shape}です：{form}にしてください"],
  ["the sound has {count} channels: use 1 to {most}", "声音有 {count} 个声道：请用 1 到 {most} 个", "音声は{count}チャンネルです：1から{most}にしてください"],
  ["the {kind} is of {type}: use floating point numbers", "{kind}的类型为 {type}：请用浮点数", "{kind}の型が{type}です：浮動小数点数にしてください"],
  [
    "the {kind} is empty, of shape {shape}: use one that has something in it",
    "{kind}为空，形状为 {shape}：请用有内容的",
    "{kind}が空です（形状{shape}）：中身のあるものを使ってください",
  ],
  ["the {kind} holds NaN or infinity: use finite numbers", "{kind}含有 NaN 或无穷大：请用有限的数", "{kind}にNaNか無限大があります：有限の数にしてください"],

  // questions to the server
  [
    "this takes more than {seconds} s: ask for less at once",
    "此操作超过 {seconds} 秒：请一次少取一些",
    "{seconds}秒を越えます：一度に求める量を減らしてください",
  ],
  [
    "the request has more than {bytes} bytes: a canvas has at most {most}",
    "请求超过 {bytes} 字节：画布最多 {most}",
    "要求が{bytes}バイトを越えています：キャンバスは{most}までです",
  ],
  [
    "file is missing: use the name of a file in ComfyUI's input folder",
    "缺少 file：请用 ComfyUI 输入文件夹中的文件名",
    "fileがありません：ComfyUIの入力フォルダーにあるファイル名を使ってください",
  ],
  [
    'the request is no JSON of the form {"document": text}: send that',
    '请求不是 {"document": text} 形式的 JSON：请按此发送',
    '要求が{"document": text}の形のJSONではありません：その形で送ってください',
  ],
  [
    "{count} frames of {width} x {height} pixels are more than {most}: ask for fewer",
    "{count} 帧 {width} x {height} 像素超过 {most}：请减少帧数",
    "{width} x {height}ピクセルの{count}フレームは{most}を越えます：数を減らしてください",
  ],
  [
    "{name} takes {size} GiB: use a mask of at most {most} GiB",
    "{name} 需要 {size} GiB：请用最多 {most} GiB 的遮罩",
    "{name}には{size} GiB必要です：{most} GiB以下のマスクを使ってください",
  ],
  ["{name} is missing: use {from} to {to}", "缺少 {name}：请用 {from} 到 {to}", "{name}がありません：{from}から{to}にしてください"],
  ["{name} is {seen}: use {from} to {to}", "{name} 为{seen}：请用 {from} 到 {to}", "{name}が{seen}です：{from}から{to}にしてください"],

  // notes on placements
  [
    "{name} has {value} fps, the canvas {fps}: it is resampled by time, some of its frames are left out.",
    "{name} 为 {value} fps，画布为 {fps}：按时间重采样，会略去一些帧。",
    "{name}は{value} fps、キャンバスは{fps} fpsです：時間でリサンプルされ、一部のフレームが省かれます。",
  ],
  [
    "{name} has {value} fps, the canvas {fps}: it is resampled by time, some of its frames are held.",
    "{name} 为 {value} fps，画布为 {fps}：按时间重采样，会保持一些帧。",
    "{name}は{value} fps、キャンバスは{fps} fpsです：時間でリサンプルされ、一部のフレームが続けて表示されます。",
  ],
  [
    "{name} has {value} fps, the canvas {fps}: it is resampled by time.",
    "{name} 为 {value} fps，画布为 {fps}：按时间重采样。",
    "{name}は{value} fps、キャンバスは{fps} fpsです：時間でリサンプルされます。",
  ],
  [
    "{name} reaches outside the frame on {span}: {pixels} are cut off.",
    "{name} 在{span}超出画面：裁去{pixels}。",
    "{name}は{span}で画面の外に出ます：{pixels}が切り取られます。",
  ],
  [
    "{name} lies under {names} on {span}, with {pixels}: where two placements overlap, the later one wins.",
    "{name} 在{span}被 {names} 遮住{pixels}：两者重叠处以后放的为准。",
    "{name}は{span}で{names}の下に{pixels}隠れます：2つが重なるところでは後のものが優先されます。",
  ],
  [
    "{name} is partly transparent on {span}: {pixels} are blended with what lies below. Where that is not opaque, the " +
      "model does not see them, and they are blended with what it makes.",
    "{name} 在{span}部分透明：{pixels}与下层混合。下层不是不透明之处，模型看不到它们，它们会与模型生成的内容混合。",
    "{name}は{span}で一部が透明です：{pixels}が下のものと混ぜられます。下が不透明でないところはモデルには見えず、モデルが作るものと混ぜられます。",
  ],
  [
    "{name} gives nothing: it is transparent, covered or taken away wherever it lies.",
    "{name} 没有给出任何内容：它所在之处全都透明、被遮住或被去掉。",
    "{name}は何も与えません：置かれたところはすべて、透明か、覆われているか、取り除かれています。",
  ],
  [
    "{name} does not fill whole latent cells ({frames} frames of {size} pixels) on {span}: {pixels} are made again, and " +
      "put back by composing.",
    "{name} 在{span}没有填满 Latent 单元格（{frames} 帧、{size} 像素）：{pixels}会重新生成，合成时放回。",
    "{name}は{span}で潜在セル（{frames}フレーム、{size}ピクセル）を満たしません：{pixels}が作り直され、合成で元に戻されます。",
  ],
  // on regions
  [
    "Region {number} {useless}: no sound plays there.",
    "区域 {number} {useless}：那里没有声音。",
    "領域{number}には{useless}：そこで鳴る音声がありません。",
  ],
  [
    "Region {number} {useless}: no placement gives anything there.",
    "区域 {number} {useless}：那里没有放置任何内容。",
    "領域{number}には{useless}：そこには何も置かれていません。",
  ],
  [
    "Region {number} takes {count} samples away; in whole latents of {hop} samples, {made} are made again, from {first} s " +
      "to {last} s. Composing puts back what is kept of them.",
    "区域 {number} 去掉 {count} 个采样；按 {hop} 个采样的完整 Latent 计，从 {first} 秒到 {last} 秒重新生成 {made} 个。其中保留的部分在合成时放回。",
    "領域{number}は{count}サンプルを取り除きます。{hop}サンプルの潜在単位では、{first}秒から{last}秒の{made}サンプルが作り直されます。そのうち保たれる分は合成で元に戻されます。",
  ],
  [
    "Region {number} takes {reach} away; in whole latent cells, {made} are made again. Composing puts back what is kept " +
      "of them.",
    "区域 {number} 去掉{reach}；按完整的 Latent 单元格计，重新生成{made}。其中保留的部分在合成时放回。",
    "領域{number}は{reach}を取り除きます。潜在セル単位では、{made}が作り直されます。そのうち保たれる分は合成で元に戻されます。",
  ],
  // on sounds and references
  ["{name} is resampled from {from} to {to} Hz.", "{name} 从 {from} 重采样到 {to} Hz。", "{name}は{from} Hzから{to} Hzにリサンプルされます。"],
  ["{name} has {count} channels: it is mixed down to 2.", "{name} 有 {count} 个声道：混为 2 个。", "{name}は{count}チャンネルです：2チャンネルにミックスされます。"],
  [
    "{name} goes on past the end: {heard} s of its {seconds} s are heard.",
    "{name} 超出结尾：{seconds} 秒中能听到 {heard} 秒。",
    "{name}は終わりを越えます：{seconds}秒のうち{heard}秒が聞こえます。",
  ],
  [
    "{name} is {size} pixels, the canvas {canvas}: the model sees it with black bars.",
    "{name} 为 {size} 像素，画布为 {canvas}：模型看到的带有黑边。",
    "{name}は{size}ピクセル、キャンバスは{canvas}です：モデルには黒帯付きで見えます。",
  ],
  [
    "{name} lasts {frames} frames of the canvas: the model sees the first {value}, which fill whole latent frames.",
    "{name} 长 {frames} 个画布帧：模型看到前 {value} 帧，它们填满完整的 Latent 帧。",
    "{name}はキャンバスの{frames}フレーム分です：モデルが見るのは、潜在フレームを満たす最初の{value}フレームです。",
  ],
  [
    "{name} lasts {frames} frames, the canvas {canvas}. To edit it ('{prompt}'), make both equally long.",
    "{name} 长 {frames} 帧，画布 {canvas} 帧。要编辑它（'{prompt}'），请使两者等长。",
    "{name}は{frames}フレーム、キャンバスは{canvas}フレームです。編集する（'{prompt}'）には、同じ長さにしてください。",
  ],

  // lines of the report
  ["! {message}", "! {message}", "! {message}"],
  ["- {message}", "- {message}", "- {message}"],
  [
    "Canvas: {size} pixels, {frames} frames at {fps} fps ({seconds} s).",
    "画布：{size} 像素，{frames} 帧，{fps} fps（{seconds} 秒）。",
    "キャンバス：{size}ピクセル、{frames}フレーム、{fps} fps（{seconds}秒）。",
  ],
  ["Kept: {share} of all pixels{inFull}.", "保留：全部像素的 {share}{inFull}。", "保持：全ピクセルの{share}{inFull}。"],
  [
    "Made again: {share} of all latent cells{inFull}.",
    "重新生成：全部 Latent 单元格的 {share}{inFull}。",
    "作り直し：全潜在セルの{share}{inFull}。",
  ],
  [
    "Lost to the latent grid: {count} given pixels on {span} share a cell with what is made again. They are made again " +
      "too, and put back by composing.",
    "因 Latent 网格而丢失：{span}上有 {count} 个给定像素与重新生成的部分同处一格。它们也会重新生成，合成时放回。",
    "潜在グリッドで失われるもの：{span}の与えられた{count}ピクセルが、作り直される部分とセルを共有します。それらも作り直され、合成で元に戻されます。",
  ],
  ["The model sees {ways}.", "模型看到{ways}。", "モデルが見るもの：{ways}。"],
  ["Sound: all {count} latents are made.", "声音：全部 {count} 个 Latent 由模型生成。", "音声：{count}個の潜在すべてが作られます。"],
  [
    "Sound: {kept} of {count} latents and {samples} samples ({seconds} s) are kept; {lost} of them are made again with " +
      "the rest of their latents, and put back by composing.",
    "声音：保留 {count} 个 Latent 中的 {kept} 个，即 {samples} 个采样（{seconds} 秒）；其中 {lost} 个随其 Latent 的其余部分重新生成，合成时放回。",
    "音声：{count}個の潜在のうち{kept}個と、{samples}サンプル（{seconds}秒）が保たれます。そのうち{lost}サンプルは同じ潜在の残りと一緒に作り直され、合成で元に戻されます。",
  ],
  [
    "Sound: {kept} of {count} latents and {samples} samples ({seconds} s) are kept.",
    "声音：保留 {count} 个 Latent 中的 {kept} 个，即 {samples} 个采样（{seconds} 秒）。",
    "音声：{count}個の潜在のうち{kept}個と、{samples}サンプル（{seconds}秒）が保たれます。",
  ],
  ["References: {names}.", "参考素材：{names}。", "参照素材：{names}。"],
  [
    "Cost of {steps} steps with guidance: {cost}",
    "带引导采样 {steps} 步的代价：{cost}",
    "ガイダンス付き{steps}ステップのコスト：{cost}",
  ],

  ["{cost}", "{cost}", "{cost}"],

  // of 'View Clip'
  [
    "source_audio is connected, and source is not: connect its pictures to source",
    "source_audio 已连接，source 未连接：请把它的画面接到 source",
    "source_audioは接続されていますが、sourceが接続されていません：その映像をsourceに接続してください",
  ],
  [
    "{input} is empty, of shape {shape}: connect pictures",
    "{input} 为空，形状 {shape}：请连接图像",
    "{input}が空です（形状{shape}）：画像を接続してください",
  ],
  [
    "clips is {count}, {input} has {total} frames: use {numbers}",
    "clips 为 {count}，{input} 有 {total} 帧：请用 {numbers}",
    "clipsが{count}、{input}は{total}フレームです：{numbers}のどれかにしてください",
  ],
  [
    "{input} is a batch of {count} sounds, {pictures} is {clips}: connect {sounds}",
    "{input} 是 {count} 个声音的批次，{pictures} 是{clips}：请连接{sounds}",
    "{input}は{count}個の音声のバッチ、{pictures}は{clips}です：{sounds}を接続してください",
  ],
  [
    "{input} has samples that are infinite or no numbers: its model has overflowed",
    "{input} 含有无穷大或非数的采样：其模型发生了溢出",
    "{input}に無限大または数でないサンプルがあります：そのモデルがあふれました",
  ],
  [
    "{input} has {rate} Hz, which AAC cannot hold: resample it to {best} Hz",
    "{input} 为 {rate} Hz，AAC 无法容纳：请重采样到 {best} Hz",
    "{input}は{rate} Hzで、AACでは扱えません：{best} Hzにリサンプルしてください",
  ],
  [
    "{input} has {count} channels: use {numbers}",
    "{input} 有 {count} 个声道：请用 {numbers}",
    "{input}は{count}チャンネルです：{numbers}のどれかにしてください",
  ],

  // whatever is left of the shape that most errors have
  ["{path} is {seen}: {rule}", "{path} 为{seen}：{rule}", "{path}が{seen}です：{rule}"],
];

/** @type {Template[]} */
const KIND = [
  ["image", "图像", "画像"],
  ["clip", "视频片段", "クリップ"],
  ["sound", "声音", "音声"],
  ["mask", "遮罩", "マスク"],
  ["alpha", "Alpha", "アルファ"],
];

/** @type {Template[]} */
const SPAN = [
  ["frame {number}", "第 {number} 帧", "フレーム{number}"],
  ["frames {runs}", "第 {runs} 帧", "フレーム{runs}"],
];

/** @type {Template[]} */
const THING = [
  ["a picture without an alpha channel", "没有 Alpha 通道的图像", "アルファチャンネルのない画像"],
  ["a picture without sound", "没有声音的图像", "音のない画像"],
  ["a picture", "图像", "画像"],
  ["a batch of {number} pictures", "{number} 张图像的批次", "{number}枚の画像のバッチ"],
  ["a clip without an alpha channel", "没有 Alpha 通道的视频片段", "アルファチャンネルのないクリップ"],
  ["a clip without sound", "没有声音的视频片段", "音のないクリップ"],
  ["a clip", "视频片段", "クリップ"],
  ["a sound", "声音", "音声"],
  ["a mask", "遮罩", "マスク"],
];

/** @type {Record<string, Template[]>} what a hole of that name may hold */
const PARTS = {
  seen: [
    ["an object", "对象", "オブジェクト"],
    ["a list", "列表", "リスト"],
    ["a number of more than 20 digits", "超过 20 位的数", "20桁を越える数"],
    ["{any}", " {any}", "{any}"],
  ],
  rule: [
    ["use a whole number", "请用整数", "整数にしてください"],
    ["use a number", "请用数字", "数にしてください"],
    ["use a finite number", "请用有限的数", "有限の数にしてください"],
    ["use a text", "请用文本", "テキストにしてください"],
    ["use {number} or more characters", "至少 {number} 个字符", "{number}文字以上にしてください"],
    ["use {number} characters or fewer", "最多 {number} 个字符", "{number}文字以下にしてください"],
    ["use valid Unicode", "请用有效的 Unicode", "正しいUnicodeにしてください"],
    ["use more than {number}", "须大于 {number}", "{number}より大きくしてください"],
    ["use less than {number}", "须小于 {number}", "{number}より小さくしてください"],
    ["use {number} or more", "须不小于 {number}", "{number}以上にしてください"],
    ["use {number} or less", "须不大于 {number}", "{number}以下にしてください"],
    ["use {number} or {number2}", "请用 {number} 或 {number2}", "{number}か{number2}にしてください"],
    ["use {number}", "请用 {number}", "{number}にしてください"],
    ["use true or false", "请用 true 或 false", "trueかfalseにしてください"],
    ["use {quoted}", "请用 {quoted}", "{quoted}にしてください"],
    ["use an object", "请用对象", "オブジェクトにしてください"],
    ["use a list", "请用列表", "リストにしてください"],
    ["use printable characters only", "只能用可打印的字符", "印字できる文字だけにしてください"],
    [
      "use the name of a file inside ComfyUI's input folder, as picture.png or folder/picture.png",
      "请用 ComfyUI 输入文件夹中的文件名，例如 picture.png 或 folder/picture.png",
      "ComfyUIの入力フォルダーにあるファイル名（picture.pngやfolder/picture.pngなど）を使ってください",
    ],
    [
      "use a tag such as @image_1, @video_1, @audio_0 or @Actor-0",
      "请用 @image_1、@video_1、@audio_0 或 @Actor-0 之类的标签",
      "@image_1、@video_1、@audio_0、@Actor-0のようなタグにしてください",
    ],
  ],
  clips: [
    ["1 clip", "1 段视频", "1本のクリップ"],
    ["{number} clips", "{number} 段视频", "{number}本のクリップ"],
  ],
  sounds: [
    ["one sound for all, or {number}", "一个声音用于全部，或 {number} 个", "全体に1つ、または{number}個の音声"],
    ["one sound", "一个声音", "1つの音声"],
  ],
  kind: KIND,
  kinds: [
    ["image, clip, sound", "图像、视频片段或声音", "画像、クリップ、音声のどれか"],
    ["image, clip", "图像或视频片段", "画像かクリップ"],
    ...KIND,
  ],
  thing: THING,
  use: THING,
  allowed: [
    ["1 or {number}", "1 或 {number}", "1か{number}"],
    ["1", "1", "1"],
  ],
  form: [
    ["a multiple of {number}", "{number} 的倍数", "{number}の倍数"],
    ["{number}n+1", "{number}n+1", "{number}n+1"],
    ["[{any}]", "[{any}]", "[{any}]"],
  ],
  origin: [
    ["a wire", "连线", "接続"],
    ["{any}", "{any}", "{any}"],
  ],
  span: SPAN,
  pixels: [
    ["up to {number} pixels", "最多 {number} 个像素", "最大{number}ピクセル"],
    ["{number} pixels", "{number} 个像素", "{number}ピクセル"],
    ["{number} pixel", "{number} 个像素", "{number}ピクセル"],
  ],
  useless: [
    ["has nothing to make again", "没有可重新生成的内容", "作り直すものがありません"],
    ["has nothing to keep", "没有可保留的内容", "残すものがありません"],
  ],
  reach: [["{span}, {columns}, {rows}", "{span}、{columns}、{rows}", "{span}、{columns}、{rows}"]],
  columns: [
    ["column {number}", "第 {number} 列", "列{number}"],
    ["columns {runs}", "第 {runs} 列", "列{runs}"],
  ],
  rows: [
    ["row {number}", "第 {number} 行", "行{number}"],
    ["rows {runs}", "第 {runs} 行", "行{runs}"],
  ],
  inFull: [
    [
      ", {span} as a whole and {span2} in part",
      "；{span}为全部，{span2}为部分",
      "（{span}は全体、{span2}は一部）",
    ],
    [", {span} as a whole", "；{span}为全部", "（{span}は全体）"],
    [", {span} in part", "；{span}为部分", "（{span}は一部）"],
    ["", "", ""],
  ],
  span2: SPAN,
  ways: [
    ["{concat} and {context}", "{concat}，以及{context}", "{concat}と、{context}"],
    ["{concat}", "{concat}", "{concat}"],
    ["{context}", "{context}", "{context}"],
  ],
  concat: [
    [
      "{number} cells in latent {span} by channel concat",
      "Latent {span}中的 {number} 个单元格（通道拼接）",
      "潜在{span}の{number}セル（チャンネル結合）",
    ],
  ],
  context: [["{span} in context", "{span}（上下文）", "{span}（コンテキスト内）"]],
  cost: [
    [
      "{number} tokens ({tokens}), about {gib} GiB, about {time}.",
      "{number} 个 token（{tokens}），约 {gib} GiB，约 {time}。",
      "{number}トークン（{tokens}）、約{gib} GiB、約{time}。",
    ],
    [
      "{number} tokens ({tokens}), about {gib} GiB.",
      "{number} 个 token（{tokens}），约 {gib} GiB。",
      "{number}トークン（{tokens}）、約{gib} GiB。",
    ],
  ],
  time: [
    ["{number} s", "{number} 秒", "{number}秒"],
    ["{number} min", "{number} 分钟", "{number}分"],
    ["{number} h", "{number} 小时", "{number}時間"],
  ],
};

/**
 * Holes with a pattern of their own, and what is replaced in their texts.
 * @type {Record<string, {pattern: string, zh: [string | RegExp, string][], ja: [string | RegExp, string][]}>}
 */
const LISTS = {
  number: { pattern: "-?[\\d.]+(?:e[-+]?\\d+)?", zh: [], ja: [] },
  numbers: { pattern: "\\d+(?:, \\d+)*", zh: [[/, /g, "、"]], ja: [[/, /g, "、"]] },
  number2: { pattern: "-?[\\d.]+(?:e[-+]?\\d+)?", zh: [], ja: [] },
  quoted: {
    pattern: "(?:'\\w+'|\"\\w+\"|, | or )+",
    zh: [
      [" or ", " 或 "],
      [/, /g, "、"],
    ],
    ja: [
      [" or ", "か"],
      [/, /g, "、"],
    ],
  },
  names: {
    pattern: ".+?",
    zh: [
      ["' and '", "'、'"],
      [/', '/g, "'、'"],
    ],
    ja: [
      ["' and '", "'、'"],
      [/', '/g, "'、'"],
    ],
  },
  runs: {
    pattern: "(?:\\d+|, | and | to | more)+",
    zh: [
      [/ and (\d+) more/, " 等（另 $1 处）"],
      [" and ", "、"],
      [/ to /g, "～"],
      [/, /g, "、"],
    ],
    ja: [
      [/ and (\d+) more/, "ほか$1か所"],
      [" and ", "、"],
      [/ to /g, "～"],
      [/, /g, "、"],
    ],
  },
  tokens: {
    pattern: "[\\w ,]+?",
    zh: [
      ["of the picture", "画面"],
      ["of the sound", "声音"],
      ["of patches in context", "上下文图块"],
      ["of references", "参考素材"],
      ["of words", "词语"],
      [/, /g, "，"],
    ],
    ja: [
      ["of the picture", "映像"],
      ["of the sound", "音声"],
      ["of patches in context", "コンテキスト内のパッチ"],
      ["of references", "参照素材"],
      ["of words", "単語"],
      [/, /g, "、"],
    ],
  },
};

/** Place of a language in a template. */
const LANGUAGES = { zh: 1, ja: 2 };

/** @type {Map<Template[], {pattern: RegExp, holes: string[], template: Template}[]>} built when first asked for */
const compiled = new Map();

/**
 * A text of Python or of the document model in the language of a locale, line by line; as it is where no template
 * fits, and in any other language.
 * @param {string} text
 * @param {string} locale such as "zh" or "zh-TW"
 * @returns {string}
 */
export function translated(text, locale) {
  const [language] = locale.split("-");
  if (!Object.hasOwn(LANGUAGES, language)) return text;
  return text
    .split("\n")
    .map((line) => said(line, MESSAGES, language) ?? line)
    .join("\n");
}

/** Every template with its translations, for tests. */
export const TEMPLATES = [...MESSAGES, ...Object.values(PARTS).flat()];

/**
 * @param {string} text
 * @param {Template[]} templates
 * @param {"zh" | "ja"} language
 * @returns {string | null} null if it fits none of them
 */
function said(text, templates, language) {
  if (!compiled.has(templates)) compiled.set(templates, templates.map(compile));
  for (const { pattern, holes, template } of compiled.get(templates)) {
    const found = pattern.exec(text);
    if (!found) continue;
    const values = Object.fromEntries(holes.map((name, i) => [name, value(name, found[i + 1], language)]));
    if (Object.values(values).includes(null)) continue;
    return template[LANGUAGES[language]].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  }
  return null;
}

/** What stands in a hole, translated if it is made of words; null if those are not known. */
function value(name, text, language) {
  if (name === "message") return said(text, MESSAGES, language);
  if (Object.hasOwn(PARTS, name)) return said(text, PARTS[name], language);
  if (!Object.hasOwn(LISTS, name)) return text;
  return LISTS[name][language].reduce((result, [english, other]) => result.replace(english, other), text);
}

/** @param {Template} template */
function compile(template) {
  const holes = [...template[0].matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  return { pattern: new RegExp(`^${source(template[0], "(")}$`), holes, template };
}

/** A regular expression for an English template; open: how the group of a hole begins. */
function source(english, open) {
  const pieces = english.split(/\{(\w+)\}/);
  return pieces.map((piece, i) => (i % 2 ? `${open}${within(piece)})` : escaped(piece))).join("");
}

/** A regular expression for what a hole may hold. */
function within(name) {
  if (Object.hasOwn(PARTS, name)) return PARTS[name].map(([english]) => source(english, "(?:")).join("|");
  return LISTS[name]?.pattern ?? ".+?";
}

function escaped(text) {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
