import json, sys, time
import numpy, onnxruntime
from tokenizers import Tokenizer
model, tokenizer, texts = sys.argv[1:4]
begun = time.perf_counter()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
tokens = Tokenizer.from_file(tokenizer)
tokens.enable_truncation(256)
names = [one.name for one in session.get_inputs()]
def embed(part):
    tokens.enable_padding()
    read = tokens.encode_batch(part)
    mask = numpy.array([one.attention_mask for one in read], dtype=numpy.int64)
    given = {'input_ids': numpy.array([one.ids for one in read], dtype=numpy.int64), 'attention_mask': mask, 'token_type_ids': numpy.zeros_like(mask)}
    hidden = session.run(None, {name: given[name] for name in names})[0]
    if hidden.ndim == 3:
        wide = mask[:, :, None].astype(numpy.float32)
        hidden = (hidden * wide).sum(1) / wide.sum(1)
    return hidden / numpy.linalg.norm(hidden, axis=1, keepdims=True)
embed(['a first text'])
told = {'first_ms': (time.perf_counter() - begun) * 1e3}
for name, texts in json.load(open(texts)).items():
    begun = time.process_time()
    for start in range(0, len(texts), 16):
        embed(texts[start:start + 16])
    told[name] = len(texts) / (time.process_time() - begun)
print(json.dumps(told))
