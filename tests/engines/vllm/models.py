"""Writes small models with random weights: python models.py KIND FOLDER. No tokenizer, nothing is downloaded."""
import sys

import torch
import transformers

COMMON = {"vocab_size": 1024, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "hidden_size": 256,
          "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 4096,
          "tie_word_embeddings": False}
KINDS = {
    "llama": ("Llama", {"intermediate_size": 512}),
    "gptoss": ("GptOss", {"intermediate_size": 256, "head_dim": 64, "sliding_window": 128, "num_local_experts": 4,
                          "num_experts_per_tok": 2, "layer_types": ["sliding_attention", "full_attention"] * 2}),
    "qwen3moe": ("Qwen3Moe", {"intermediate_size": 512, "moe_intermediate_size": 128, "head_dim": 64,
                              "num_experts": 8, "num_experts_per_tok": 2}),
}


def write(kind, folder):
    torch.manual_seed(1234)
    name, own = KINDS[kind]
    config = getattr(transformers, f"{name}Config")(**COMMON, **own)
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    with torch.no_grad():
        for weight_name, weight in model.named_parameters():
            if weight.dim() >= 2:
                weight.normal_(0, 0.05)
            elif "norm" in weight_name:
                weight.fill_(1.0)
    model.float().save_pretrained(folder)


if __name__ == "__main__":
    write(*sys.argv[1:3])
