"""Random models of three shapes, the same in every process."""
import torch
import transformers

COMMON = {"vocab_size": 512, "hidden_size": 128, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 32,
          "max_position_embeddings": 2048, "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
WINDOW = 96


def make(kind, dtype, seed):
    if kind == "llama":
        config = transformers.LlamaConfig(num_hidden_layers=3, intermediate_size=256, **COMMON)
        model = transformers.LlamaForCausalLM
    elif kind == "gptoss":  # sliding and full layers in turns
        config = transformers.GptOssConfig(num_hidden_layers=4, intermediate_size=128, num_local_experts=4,
                                           num_experts_per_tok=2, sliding_window=WINDOW, rope_scaling=None, **COMMON)
        model = transformers.GptOssForCausalLM
    elif kind == "qwen3moe":
        config = transformers.Qwen3MoeConfig(num_hidden_layers=3, intermediate_size=256, moe_intermediate_size=64,
                                             num_experts=8, num_experts_per_tok=2, **COMMON)
        model = transformers.Qwen3MoeForCausalLM
    else:
        raise ValueError(kind)
    torch.manual_seed(seed)
    return model._from_config(config, attn_implementation="eager", dtype=getattr(torch, dtype)).eval()
